package kube

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke"
)

// overdue is how long after its grace a pod that is deleted may still exist before nobody can tell whether it runs: its kubelet,
// which alone knows, does not say that it ended.
const overdue = time.Minute

// unknownEnd is the reason of an end that the kubelet did not see; the exit code 137 that comes with it means nothing.
const unknownEnd = "ContainerStatusUnknown"

// unknownExit is the reason that containerd gives a container of which it does not know how it ended, because the node was started anew; the
// exit code 255 that comes with it means nothing. One that ended so by itself has another reason.
const unknownExit = "Unknown"

// lastLines is how many lines of its log tell why a harness ended without a word.
const lastLines = 20

// observe says what the object of a pod means now, by the API server's clock.
//
//	the pod                                        is
//	its phase is Succeeded or Failed               Ended, see ended
//	it is deleted, its grace is over for a minute  Lost, as of then
//	not ready though all its containers are        Lost, as of then: the node's kubelet is silent, and the controller says so
//	not all of it runs yet                         Running, waiting with what holds it up
//	else                                           Running
//
// The caller knows whether the spoke asked it to end.
func observe(pod *corev1.Pod, asked bool, now time.Time) spoke.Workload {
	var w spoke.Workload
	if terminal(pod) {
		e := ended(pod, asked, false)
		return e.observed()
	}
	w.State = spoke.WorkloadRunning
	if at, text := silent(pod, now); !at.IsZero() {
		return spoke.Workload{State: spoke.WorkloadLost, Exit: text, ObservedAt: at}
	}
	if pod.DeletionTimestamp == nil {
		w.Waiting = waiting(pod).Text
	}
	return w
}

func terminal(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// silent says since when nobody can tell whether a pod runs, and why; zero when its node answers.
func silent(pod *corev1.Pod, now time.Time) (since time.Time, text string) {
	if d := pod.DeletionTimestamp; d != nil && pod.Spec.NodeName != "" && now.After(d.Add(overdue)) { // it is the end of the grace
		return d.Time, fmt.Sprintf("node %s does not confirm that the pod has ended", pod.Spec.NodeName)
	}
	// The kubelet says both at once; the controller of nodes takes the first one back alone.
	ready, all := condition(pod, corev1.PodReady), condition(pod, corev1.ContainersReady)
	if ready.Status == corev1.ConditionFalse && all.Status == corev1.ConditionTrue && ready.Reason != "ReadinessGatesNotReady" || ready.Status == corev1.ConditionUnknown || ready.Reason == "NodeLost" {
		return cmp.Or(ready.LastTransitionTime.Time, now), fmt.Sprintf("node %s does not answer", pod.Spec.NodeName)
	}
	return time.Time{}, ""
}

func condition(pod *corev1.Pod, of corev1.PodConditionType) corev1.PodCondition {
	for _, c := range pod.Status.Conditions {
		if c.Type == of {
			return c
		}
	}
	return corev1.PodCondition{}
}

// last is what a harness, or something else in its container, left as the message of its end.
type last struct {
	Reason  string           `json:"reason"`
	Failure api.StartFailure `json:"failure"`
	Turn    bool             `json:"turn"` // a turn had begun
}

// lastWords reads the message of a container's end. What is no note of a harness is the end of its log.
func lastWords(message string) (words last, log string) {
	if len(message) > maxExit {
		message = message[:maxExit]
	}
	if strings.HasPrefix(message, "{") && json.Unmarshal([]byte(message), &words) == nil && words.Reason != "" {
		words.Reason, words.Failure = clean(words.Reason), known(words.Failure)
		if words.Reason != "" {
			return words, ""
		}
	}
	lines := strings.Split(clean(message), "\n")
	return last{}, strings.Join(lines[max(0, len(lines)-lastLines):], "\n")
}

// ended says why a pod ended that is terminal, or that was last seen so and is gone. What counts first comes first:
//
//	it                                          is                    failed start
//	was taken away by the cluster               why, and its words    no
//	was asked to end                            its words, or killed  no
//	was deleted by somebody                     that, and its words   no
//	ended unseen                                that                  no
//	was killed for want of memory               the limit             crash, unless a turn had begun
//	left a note                                 the note, and how     as the note says, unless a turn had begun
//	                                            tool servers failed
//	ended without one                           exit code, log        crash
//	never ran                                   why                   runtime, or as the container's reason says
func ended(pod *corev1.Pod, asked, gone bool) ending {
	end := harnessEnd(pod)
	words, log := last{}, ""
	if end != nil {
		words, log = lastWords(end.Message)
	}
	failed := func(f api.StartFailure) api.StartFailure {
		if words.Turn {
			return ""
		}
		return f
	}
	if why := disruption(pod); why != "" {
		if words.Reason != "" {
			why += " (" + words.Reason + ")"
		}
		return ending{Exit: why, disrupted: true}
	}
	switch {
	case asked || gone || pod.DeletionTimestamp != nil:
		return ending{Exit: endAsked(end, words, asked), disrupted: !asked}
	case end == nil:
		return neverRan(pod)
	case end.Reason == unknownEnd, end.Reason == unknownExit:
		return ending{Exit: "its node lost track of it: " + orText(log, "nobody saw how it ended"), disrupted: true}
	case starved(end):
		return ending{Exit: "out of memory: the container had " + memoryOf(pod), Failure: failed(api.StartFailureCrash)}
	case words.Reason != "" && words.Failure != "":
		e := ending{Exit: words.Reason, Failure: failed(words.Failure)}
		if broken := brokenServers(pod); e.Failure != "" && broken != "" {
			e.Exit = clean(e.Exit + "\n" + broken) // the harness sees no more than that nobody listens
		}
		return e
	case words.Reason != "" && (words.Turn || end.ExitCode == 0):
		return ending{Exit: words.Reason}
	case words.Reason != "":
		return ending{Exit: words.Reason, Failure: api.StartFailureCrash}
	case end.Reason == "StartError", end.Reason == "ContainerCannotRun":
		return ending{Exit: orText(log, "the harness cannot be started"), Failure: api.StartFailureConfig}
	}
	return ending{Exit: strings.TrimSpace(fmt.Sprintf("the harness ended without a word: %s\n%s", exitCode(end), log)), Failure: failed(api.StartFailureCrash)}
}

func endAsked(end *corev1.ContainerStateTerminated, words last, asked bool) string {
	how := words.Reason
	if end != nil && end.ExitCode == killed && end.Reason != unknownEnd {
		how = "killed: it had not ended within its grace"
	}
	switch {
	case asked:
		return orText(how, "stopped")
	case how == "":
		return "its pod was deleted"
	}
	return "its pod was deleted (" + how + ")"
}

// killed is the exit code of a process that SIGKILL ended.
const killed = 128 + 9

// starved reports that the kernel ended the harness for want of memory. Where it ends one process of a container and not all, containerd
// says OOMKilled of a container of which one was ended, however the harness itself ended much later.
func starved(end *corev1.ContainerStateTerminated) bool {
	return end.Reason == "OOMKilled" && (end.ExitCode == killed || end.Signal == 9)
}

func exitCode(t *corev1.ContainerStateTerminated) string {
	if t.Signal != 0 {
		return fmt.Sprintf("signal %d", t.Signal)
	}
	if t.ExitCode > 128 && t.ExitCode < 128+65 {
		return fmt.Sprintf("signal %d", t.ExitCode-128)
	}
	return fmt.Sprintf("exit code %d", t.ExitCode)
}

// neverRan says why a pod ended whose harness never began: an init container failed, or the kubelet did not take the pod.
func neverRan(pod *corev1.Pod) ending {
	for _, c := range pod.Status.InitContainerStatuses {
		if t := c.State.Terminated; t != nil && t.ExitCode != 0 {
			_, log := lastWords(t.Message)
			return ending{Exit: strings.TrimSpace(fmt.Sprintf("container %s failed: %s\n%s", c.Name, exitCode(t), log)), Failure: api.StartFailureRuntime}
		}
	}
	why := orText(clean(strings.TrimPrefix(pod.Status.Reason+": "+pod.Status.Message, ": ")), "its pod ended before it ran")
	return ending{Exit: why, Failure: api.StartFailureRuntime}
}

// harnessEnd is how the container of the harness ended; nil when it has not.
func harnessEnd(pod *corev1.Pod) *corev1.ContainerStateTerminated {
	for _, c := range pod.Status.ContainerStatuses {
		if c.Name == containerHarness {
			return c.State.Terminated
		}
	}
	return nil
}

func memoryOf(pod *corev1.Pod) string {
	for _, c := range pod.Spec.Containers {
		if c.Name == containerHarness {
			return c.Resources.Limits.Memory().String()
		}
	}
	return "its limit"
}

// disruptions are the reasons for which a cluster takes a pod away that did nothing wrong, in the words of people. They are the
// reasons of the condition DisruptionTarget and of a pod's status.
var disruptions = map[string]string{
	"PreemptionByScheduler":  "preempted by a pod of higher priority",
	"DeletionByTaintManager": "its node was tainted",
	"EvictionByEvictionAPI":  "evicted",
	"DeletionByPodGC":        "its node is gone",
	"TerminationByKubelet":   "ended by its node",
	"Preempting":             "preempted by a pod that its node needs",
	"Evicted":                "evicted by its node",
	"Shutdown":               "its node shuts down",
	"NodeShutdown":           "its node shuts down",
	"Terminated":             "its node shuts down",
	"NodeLost":               "its node is lost",
}

// disruption says why the cluster took a pod away; empty when it did not.
func disruption(pod *corev1.Pod) string {
	c := condition(pod, corev1.DisruptionTarget)
	text, detail := disruptions[pod.Status.Reason], pod.Status.Message
	if c.Status == corev1.ConditionTrue {
		text, detail = cmp.Or(text, disruptions[c.Reason], "disrupted: "+c.Reason), cmp.Or(detail, c.Message)
	}
	if text == "" || detail == "" {
		return text
	}
	return text + ": " + clean(detail)
}

func orText(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}
