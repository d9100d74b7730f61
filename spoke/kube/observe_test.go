package kube

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// change is one thing that a pod's object says.
type change func(*corev1.Pod)

func podWith(changes ...change) *corev1.Pod {
	memory := size("1", "128Mi", 0)
	p := &corev1.Pod{
		Spec:   corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: containerHarness, Resources: memory.resources()}}},
		Status: corev1.PodStatus{Phase: corev1.PodPending},
	}
	for _, c := range changes {
		c(p)
	}
	return p
}

func phase(of corev1.PodPhase) change { return func(p *corev1.Pod) { p.Status.Phase = of } }

func status(reason, message string) change {
	return func(p *corev1.Pod) { p.Status.Reason, p.Status.Message = reason, message }
}

func cond(of corev1.PodConditionType, is corev1.ConditionStatus, reason, message string) change {
	return func(p *corev1.Pod) {
		p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: of, Status: is, Reason: reason, Message: message, LastTransitionTime: metav1.NewTime(noon)})
	}
}

// deleted: its grace ends then.
func deleted(by time.Time) change {
	return func(p *corev1.Pod) { t := metav1.NewTime(by); p.DeletionTimestamp = &t }
}

func running() change {
	return func(p *corev1.Pod) {
		p.Status.Phase = corev1.PodRunning
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: containerHarness, State: corev1.ContainerState{Running: new(corev1.ContainerStateRunning)}}}
	}
}

func waits(init bool, name, reason, message string) change {
	return func(p *corev1.Pod) {
		s := corev1.ContainerStatus{Name: name, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}}
		if init {
			p.Status.InitContainerStatuses = append(p.Status.InitContainerStatuses, s)
		} else {
			p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, s)
		}
	}
}

func ends(code int32, reason, message string) change {
	return func(p *corev1.Pod) {
		if p.Status.Phase = corev1.PodFailed; code == 0 {
			p.Status.Phase = corev1.PodSucceeded
		}
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: containerHarness, State: corev1.ContainerState{
			Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason, Message: message}}}}
	}
}

func initEnds(name string, code int32, message string) change {
	return func(p *corev1.Pod) {
		p.Status.InitContainerStatuses = append(p.Status.InitContainerStatuses, corev1.ContainerStatus{Name: name, State: corev1.ContainerState{
			Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Message: message}}})
	}
}

// serverEnds is a tool server that waits to be started anew.
func serverEnds(name string, code int32, message string) change {
	return func(p *corev1.Pod) {
		p.Status.InitContainerStatuses = append(p.Status.InitContainerStatuses, corev1.ContainerStatus{
			Name: name, RestartCount: 1, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff", Message: "back-off"}},
			LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Message: message}}})
	}
}

const (
	isRunning = spoke.WorkloadRunning
	isEnded   = spoke.WorkloadEnded
	isLost    = spoke.WorkloadLost
)

func TestObserve(t *testing.T) {
	words := `{"reason":"killed","turn":true}`
	for _, tt := range []struct {
		name  string
		pod   *corev1.Pod
		asked bool
		want  spoke.Workload
	}{
		{"new", podWith(), false, spoke.Workload{State: isRunning}},
		{"no node", podWith(cond(corev1.PodScheduled, corev1.ConditionFalse, "Unschedulable", "0/3 nodes are available: 3 Insufficient cpu.")), false,
			spoke.Workload{State: isRunning, Waiting: "no node takes it: Unschedulable: 0/3 nodes are available: 3 Insufficient cpu."}},
		{"being made", podWith(waits(false, containerHarness, "ContainerCreating", "")), false, spoke.Workload{State: isRunning}},
		{"image refused", podWith(waits(false, containerHarness, "ErrImagePull", "pull access denied")), false,
			spoke.Workload{State: isRunning, Waiting: "container harness: ErrImagePull: pull access denied"}},
		{"image waits", podWith(waits(true, containerInstall, "ImagePullBackOff", `Back-off pulling image "x"`)), false,
			spoke.Workload{State: isRunning, Waiting: `container install: ImagePullBackOff: Back-off pulling image "x"`}},
		{"bad image name", podWith(waits(false, containerHarness, "InvalidImageName", "couldn't parse")), false,
			spoke.Workload{State: isRunning, Waiting: "container harness: InvalidImageName: couldn't parse"}},
		{"bad configuration", podWith(waits(false, containerHarness, "CreateContainerConfigError", "image has non-numeric user")), false,
			spoke.Workload{State: isRunning, Waiting: "container harness: CreateContainerConfigError: image has non-numeric user"}},
		{"cannot be run", podWith(waits(false, containerHarness, "RunContainerError", "exec: no such file")), false,
			spoke.Workload{State: isRunning, Waiting: "container harness: RunContainerError: exec: no such file"}},
		{"tool server crashes", podWith(waits(true, "mcp-a", "CrashLoopBackOff", "back-off"), waits(false, containerHarness, "PodInitializing", "")), false,
			spoke.Workload{State: isRunning, Waiting: "container mcp-a: CrashLoopBackOff: back-off"}},
		{"runs", podWith(running()), false, spoke.Workload{State: isRunning}},
		{"is ending", podWith(running(), deleted(noon.Add(time.Second))), true, spoke.Workload{State: isRunning}},
		{"tool server crashes later", podWith(running(), waits(true, "mcp-a", "CrashLoopBackOff", "back-off")), false, spoke.Workload{State: isRunning}},

		{"its node is silent", podWith(running(), cond(corev1.PodReady, corev1.ConditionFalse, "", ""), cond(corev1.ContainersReady, corev1.ConditionTrue, "", "")), false,
			spoke.Workload{State: isLost, Exit: "node n1 does not answer", ObservedAt: noon}},
		{"not ready, for something else that it waits for", podWith(running(), cond(corev1.PodReady, corev1.ConditionFalse, "ReadinessGatesNotReady", ""), cond(corev1.ContainersReady, corev1.ConditionTrue, "", "")), false,
			spoke.Workload{State: isRunning}},
		{"not ready, and its node says so", podWith(running(), cond(corev1.PodReady, corev1.ConditionFalse, "", ""), cond(corev1.ContainersReady, corev1.ConditionFalse, "", "")), false,
			spoke.Workload{State: isRunning}},
		{"its end is overdue", podWith(running(), deleted(noon.Add(-61*time.Second))), true,
			spoke.Workload{State: isLost, Exit: "node n1 does not confirm that the pod has ended", ObservedAt: noon.Add(-61 * time.Second)}},
		{"its end is not overdue yet", podWith(running(), deleted(noon.Add(-59*time.Second))), true, spoke.Workload{State: isRunning}},

		{"stopped in order", podWith(ends(0, "Completed", `{"reason":"stopped"}`)), false, spoke.Workload{State: isEnded, Exit: "stopped"}},
		{"a failed start", podWith(ends(1, "Error", `{"reason":"init script x: exit status 7","failure":"configuration"}`)), false,
			spoke.Workload{State: isEnded, Exit: "init script x: exit status 7", Failure: api.StartFailureConfig}},
		{"a tool server that fails", podWith(ends(1, "Error", `{"reason":"nobody listens","failure":"configuration"}`), serverEnds("mcp-a", 1, "no key")), false,
			spoke.Workload{State: isEnded, Exit: "nobody listens\ncontainer mcp-a failed: exit code 1\nno key", Failure: api.StartFailureConfig}},
		{"a tool server that failed before a turn", podWith(ends(1, "Error", `{"reason":"x","failure":"crash","turn":true}`), serverEnds("mcp-a", 1, "no key")), false,
			spoke.Workload{State: isEnded, Exit: "x"}},
		{"a tool server crashes and says why", podWith(waits(false, containerHarness, "PodInitializing", ""), serverEnds("mcp-a", 2, "no key")), false,
			spoke.Workload{State: isRunning, Waiting: "container mcp-a: CrashLoopBackOff: back-off: exit code 2\nno key"}},
		{"a failure of no known kind", podWith(ends(1, "Error", `{"reason":"x","failure":"of mine"}`)), false,
			spoke.Workload{State: isEnded, Exit: "x", Failure: api.StartFailureCrash}},
		{"a failure after a turn", podWith(ends(1, "Error", `{"reason":"x","failure":"crash","turn":true}`)), false, spoke.Workload{State: isEnded, Exit: "x"}},
		{"a reason and no failure", podWith(ends(1, "Error", `{"reason":"x"}`)), false, spoke.Workload{State: isEnded, Exit: "x", Failure: api.StartFailureCrash}},
		{"killed before a turn", podWith(ends(137, "Error", "")), false,
			spoke.Workload{State: isEnded, Exit: "the harness ended without a word: signal 9", Failure: api.StartFailureCrash}},
		{"killed after a turn", podWith(ends(137, "Error", words)), false, spoke.Workload{State: isEnded, Exit: "killed"}},
		{"ended with lines", podWith(ends(3, "Error", "one\ntwo\n")), false,
			spoke.Workload{State: isEnded, Exit: "the harness ended without a word: exit code 3\none\ntwo", Failure: api.StartFailureCrash}},
		{"ended well without a word", podWith(ends(0, "Completed", "")), false,
			spoke.Workload{State: isEnded, Exit: "the harness ended without a word: exit code 0", Failure: api.StartFailureCrash}},
		{"no such program", podWith(ends(128, "StartError", "exec: /nave/bin/nave-harness: no such file")), false,
			spoke.Workload{State: isEnded, Exit: "exec: /nave/bin/nave-harness: no such file", Failure: api.StartFailureConfig}},
		{"out of memory", podWith(ends(137, "OOMKilled", "")), false,
			spoke.Workload{State: isEnded, Exit: "out of memory: the container had 128Mi", Failure: api.StartFailureCrash}},
		{"out of memory after a turn", podWith(ends(137, "OOMKilled", words)), false, spoke.Workload{State: isEnded, Exit: "out of memory: the container had 128Mi"}},
		{"stopped long after its agent was killed for want of memory", podWith(ends(0, "OOMKilled", `{"reason":"stopped","turn":true}`)), false, spoke.Workload{State: isEnded, Exit: "stopped"}},
		{"a failed start for want of memory", podWith(ends(1, "OOMKilled", `{"reason":"init script x: out of memory: the container had 64Mi","failure":"configuration"}`)), false,
			spoke.Workload{State: isEnded, Exit: "init script x: out of memory: the container had 64Mi", Failure: api.StartFailureConfig}},
		{"asked to end", podWith(ends(0, "Completed", `{"reason":"stopped"}`)), true, spoke.Workload{State: isEnded, Exit: "stopped"}},
		{"asked to end, killed", podWith(ends(137, "Error", words)), true, spoke.Workload{State: isEnded, Exit: "killed: it had not ended within its grace"}},
		{"asked to end, failed", podWith(ends(1, "Error", `{"reason":"x","failure":"crash"}`)), true, spoke.Workload{State: isEnded, Exit: "x"}},
		{"asked to end before it ran", podWith(phase(corev1.PodFailed)), true, spoke.Workload{State: isEnded, Exit: "stopped"}},
		{"deleted by somebody", podWith(ends(0, "Completed", ""), deleted(noon)), false, spoke.Workload{State: isEnded, Exit: "its pod was deleted", Disrupted: true}},
		{"deleted by somebody, and ended in order", podWith(ends(0, "Completed", `{"reason":"stopped","turn":true}`), deleted(noon)), false,
			spoke.Workload{State: isEnded, Exit: "its pod was deleted (stopped)", Disrupted: true}},
		{"deleted by somebody, and killed", podWith(ends(137, "Error", `{"reason":"killed","turn":true}`), deleted(noon)), false,
			spoke.Workload{State: isEnded, Exit: "its pod was deleted (killed: it had not ended within its grace)", Disrupted: true}},
		{"its node was started anew in a turn", podWith(ends(255, unknownExit, `{"reason":"killed","turn":true}`)), false,
			spoke.Workload{State: isEnded, Exit: "its node lost track of it: nobody saw how it ended", Disrupted: true}},
		{"its node was started anew before a turn", podWith(ends(255, unknownExit, "")), false,
			spoke.Workload{State: isEnded, Exit: "its node lost track of it: nobody saw how it ended", Disrupted: true}},
		{"an exit code that looks like it", podWith(ends(255, "Error", `{"reason":"killed","turn":true}`)), false,
			spoke.Workload{State: isEnded, Exit: "killed"}},
		{"nobody saw the end", podWith(ends(137, unknownEnd, "The container could not be located when the pod was terminated")), false,
			spoke.Workload{State: isEnded, Exit: "its node lost track of it: The container could not be located when the pod was terminated", Disrupted: true}},
		{"deleted before it ran", podWith(ends(137, unknownEnd, "not located"), deleted(noon)), true, spoke.Workload{State: isEnded, Exit: "stopped"}},

		{"evicted by its node", podWith(phase(corev1.PodFailed), status("Evicted", "The node was low on resource: memory.")), false,
			spoke.Workload{State: isEnded, Exit: "evicted by its node: The node was low on resource: memory.", Disrupted: true}},
		{"evicted, and said so", podWith(ends(0, "Completed", `{"reason":"stopped"}`), cond(corev1.DisruptionTarget, corev1.ConditionTrue, "EvictionByEvictionAPI", "Eviction API: evicting"), deleted(noon)), false,
			spoke.Workload{State: isEnded, Exit: "evicted: Eviction API: evicting (stopped)", Disrupted: true}},
		{"preempted", podWith(ends(137, "Error", ""), cond(corev1.DisruptionTarget, corev1.ConditionTrue, "PreemptionByScheduler", "default-scheduler: preempting"), deleted(noon)), false,
			spoke.Workload{State: isEnded, Exit: "preempted by a pod of higher priority: default-scheduler: preempting", Disrupted: true}},
		{"tainted", podWith(ends(143, "Error", ""), cond(corev1.DisruptionTarget, corev1.ConditionTrue, "DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint"), deleted(noon)), false,
			spoke.Workload{State: isEnded, Exit: "its node was tainted: Taint manager: deleting due to NoExecute taint", Disrupted: true}},
		{"its node shuts down", podWith(ends(143, "Error", ""), status("Terminated", "Pod was terminated in response to imminent node shutdown."), cond(corev1.DisruptionTarget, corev1.ConditionTrue, "TerminationByKubelet", "")), false,
			spoke.Workload{State: isEnded, Exit: "its node shuts down: Pod was terminated in response to imminent node shutdown.", Disrupted: true}},
		{"a reason that is not known", podWith(phase(corev1.PodFailed), cond(corev1.DisruptionTarget, corev1.ConditionTrue, "ByTheMoon", "")), false,
			spoke.Workload{State: isEnded, Exit: "disrupted: ByTheMoon", Disrupted: true}},
		{"not disrupted any more", podWith(ends(0, "Completed", `{"reason":"stopped"}`), cond(corev1.DisruptionTarget, corev1.ConditionFalse, "PreemptionByScheduler", "")), false,
			spoke.Workload{State: isEnded, Exit: "stopped"}},
		{"its node is gone", podWith(phase(corev1.PodFailed), cond(corev1.DisruptionTarget, corev1.ConditionTrue, "DeletionByPodGC", "PodGC: node no longer exists")), false,
			spoke.Workload{State: isEnded, Exit: "its node is gone: PodGC: node no longer exists", Disrupted: true}},
		{"its node does not take it", podWith(phase(corev1.PodFailed), status("OutOfcpu", "Node didn't have enough resource: cpu")), false,
			spoke.Workload{State: isEnded, Exit: "OutOfcpu: Node didn't have enough resource: cpu", Failure: api.StartFailureRuntime}},
		{"its init container failed", podWith(phase(corev1.PodFailed), initEnds(containerInstall, 1, "install: read-only file system")), false,
			spoke.Workload{State: isEnded, Exit: "container install failed: exit code 1\ninstall: read-only file system", Failure: api.StartFailureRuntime}},
		{"nothing is known", podWith(phase(corev1.PodFailed)), false, spoke.Workload{State: isEnded, Exit: "its pod ended before it ran", Failure: api.StartFailureRuntime}},
	} {
		if diff := cmp.Diff(tt.want, observe(tt.pod, tt.asked, noon)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestLastWordsAreBounded(t *testing.T) {
	for _, message := range []string{
		strings.Repeat("x", 100_000),
		`{"reason":"` + strings.Repeat("é", 5000) + `"}`,
		strings.Repeat("line\n", 4000),
		"\x1b[31mred\x00\xff",
	} {
		words, log := lastWords(message)
		if len(words.Reason) > maxExit || len(log) > maxExit || strings.Count(log, "\n") >= lastLines || strings.ContainsAny(words.Reason+log, "\x1b\x00") {
			t.Errorf("%.30q became %.60q and %.60q", message, words.Reason, log)
		}
	}
	if words, log := lastWords(`{"reason":"\u001b[2Jnice","failure":"image","turn":true}`); words != (last{"[2Jnice", api.StartFailureImage, true}) || log != "" {
		t.Errorf("%+v, %q", words, log)
	}
}

func TestWorkloadsWithoutAPod(t *testing.T) {
	claim := new(corev1.ConfigMap)
	given := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{annotationExit: `{"exit":"no image","failure":"image"}`}}}
	for _, tt := range []struct {
		name string
		item item
		want spoke.Workload
	}{
		{"being made", item{memory: memory{starting: make(chan struct{})}}, spoke.Workload{State: isRunning, Waiting: "it is being made"}},
		{"not confirmed", item{claim: claim}, spoke.Workload{State: isRunning, Waiting: "its pod is not seen, and nobody has confirmed yet that it is gone"}},
		{"gone, not confirmed", item{claim: claim, memory: memory{last: podWith(running())}},
			spoke.Workload{State: isRunning, Waiting: "its pod is not seen, and nobody has confirmed yet that it is gone"}},
		{"gone as it ended", item{claim: claim, memory: memory{last: podWith(ends(0, "", `{"reason":"stopped"}`))}}, spoke.Workload{State: isEnded, Exit: "stopped"}},
		{"gone while it ran", item{claim: claim, memory: memory{last: podWith(running()), absent: true}}, spoke.Workload{State: isEnded, Exit: "its pod was deleted", Disrupted: true}},
		{"gone while it was stopped", item{claim: claim, memory: memory{last: podWith(running()), absent: true, stopAt: noon}}, spoke.Workload{State: isEnded, Exit: "stopped"}},
		{"evicted, then gone", item{claim: claim, memory: memory{last: podWith(running(), cond(corev1.DisruptionTarget, corev1.ConditionTrue, "EvictionByEvictionAPI", "")), absent: true}},
			spoke.Workload{State: isEnded, Exit: "evicted", Disrupted: true}},
		{"never seen", item{claim: claim, memory: memory{absent: true}}, spoke.Workload{State: isEnded, Exit: "its pod does not exist: it was not made, or is gone since before anybody looked", Disrupted: true}},
		{"never made", item{claim: claim, memory: memory{absent: true, trouble: "no answer"}},
			spoke.Workload{State: isEnded, Exit: "its pod was not made: no answer", Failure: api.StartFailureRuntime}},
		{"given up", item{claim: given, memory: memory{absent: true}}, spoke.Workload{State: isEnded, Exit: "no image", Failure: api.StartFailureImage}},
		{"given up, and its pod is terminal", item{claim: given, pod: podWith(ends(137, "", ""))}, spoke.Workload{State: isEnded, Exit: "no image", Failure: api.StartFailureImage}},
		{"given up, and its pod ends", item{claim: given, pod: podWith(deleted(noon))}, spoke.Workload{State: isRunning}},
	} {
		if diff := cmp.Diff(tt.want, tt.item.observe(noon)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestGiveUp(t *testing.T) {
	const limit = 5 * time.Minute
	image := obstacle{obstacleImage, "no such image"}
	for _, tt := range []struct {
		name      string
		obstacle  obstacle
		same, age time.Duration
		want      ending
		now       bool
	}{
		{"it runs", obstacle{}, time.Hour, time.Hour, ending{}, false},
		{"it is being made", obstacle{Kind: obstacleTime}, 4 * time.Minute, 4 * time.Minute, ending{}, false},
		{"it is being made for too long", obstacle{Kind: obstacleTime}, time.Minute, limit, ending{Exit: "not started in 5m0s", Failure: api.StartFailureRuntime}, true},
		{"no node", obstacle{obstacleNode, "no cpu"}, limit, limit, ending{Exit: "not started in 5m0s: no cpu", Failure: api.StartFailureRuntime}, true},
		{"no node yet", obstacle{obstacleNode, "no cpu"}, limit - 1, limit - 1, ending{}, false},
		{"no image", image, time.Minute, time.Minute, ending{Exit: "no such image", Failure: api.StartFailureImage}, true},
		{"no image yet", image, time.Minute - 1, 2 * time.Minute, ending{}, false},
		{"no name", obstacle{obstacleName, "bad name"}, time.Second, time.Second, ending{Exit: "bad name", Failure: api.StartFailureImage}, true},
		{"bad configuration", obstacle{obstacleConfig, "no user"}, 20 * time.Second, 20 * time.Second, ending{Exit: "no user", Failure: api.StartFailureConfig}, true},
		{"bad configuration at first", obstacle{obstacleConfig, "no user"}, 19 * time.Second, 19 * time.Second, ending{}, false},
		{"a server that crashes", obstacle{obstacleCrash, "mcp-a"}, limit, limit, ending{Exit: "not started in 5m0s: mcp-a", Failure: api.StartFailureConfig}, true},
	} {
		got, now := giveUp(tt.obstacle, tt.same, tt.age, limit)
		if got != tt.want || now != tt.now {
			t.Errorf("%s: %+v, %v; want %+v, %v", tt.name, got, now, tt.want, tt.now)
		}
	}
}
