package testcluster

import (
	_ "embed"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
)

//go:embed stages/fates.yaml
var fateStages []byte

// fatePrefix begins the annotations that the stages of fates read.
const fatePrefix = "fate.nave.dev/"

// What may be written in Fate.Is.
const (
	FateWaiting = "waiting" // it has a node and its containers do not start, until the annotations are removed
	FateRefused = "refused" // the node does not take it: it fails and never had containers
	FateEnded   = "ended"   // it ends after it was ready
)

// Fate is what becomes of a fake pod: annotations, with which it is made or which it gets while it lives.
type Fate struct {
	Is string

	// Reason and Message of the pod's status; empty: none.
	Reason, Message string

	// ContainerReason and ContainerMessage are those of the containers that wait, or of the first that has ended; others that have
	// ended were killed. A message may be what a program wrote to its termination log.
	ContainerReason, ContainerMessage string

	// ExitCode is that of the first container. The pod has succeeded when it is 0, else it has failed.
	ExitCode int

	// Disruption is the reason of the condition DisruptionTarget; empty: no such condition.
	Disruption string

	// After is how long the pod lives on when it is ready, for FateEnded.
	After time.Duration

	// Lingers is how long the pod is there when it was deleted; 0: it goes at once. With an empty Is nothing else happens to it.
	Lingers time.Duration
}

// Fates with the words of Kubernetes for them.
var (
	OOMKilled = Fate{Is: FateEnded, ContainerReason: "OOMKilled", ExitCode: 137}
	Crashed   = Fate{Is: FateEnded, ContainerReason: "Error", ExitCode: 1}
	Completed = Fate{Is: FateEnded, ContainerReason: "Completed"}
	Evicted   = Fate{
		Is: FateEnded, Reason: "Evicted", Message: "The node was low on resource: memory.",
		ContainerReason: "Error", ExitCode: 137, Disruption: corev1.PodReasonTerminationByKubelet,
	}
	NodeShutdown = Fate{
		Is: FateEnded, Reason: "Terminated", Message: "Pod was terminated in response to imminent node shutdown.",
		ContainerReason: "Error", ExitCode: 137, Disruption: corev1.PodReasonTerminationByKubelet,
	}
	DeadlineExceeded = Fate{
		Is: FateEnded, Reason: "DeadlineExceeded", Message: "Pod was active on the node longer than the specified deadline",
		ContainerReason: "Error", ExitCode: 137,
	}
	StartFailed      = Fate{Is: FateEnded, ContainerReason: "StartError", ContainerMessage: "failed to create containerd task", ExitCode: 128}
	ImagePullBackOff = Fate{Is: FateWaiting, ContainerReason: "ImagePullBackOff", ContainerMessage: "Back-off pulling image"}
	BadConfig        = Fate{Is: FateWaiting, ContainerReason: "CreateContainerConfigError", ContainerMessage: `configmap "claim" not found`}
	StillCreating    = Fate{Is: FateWaiting, ContainerReason: "ContainerCreating"}
	OutOfMemory      = Fate{Is: FateRefused, Reason: "OutOfmemory", Message: "Pod was rejected: Node didn't have enough resource: memory"}
)

// Annotations are those that give a pod this fate.
func (f Fate) Annotations() map[string]string {
	out := make(map[string]string)
	set := func(key, value string) {
		if value != "" {
			out[fatePrefix+key] = value
		}
	}
	if f.Lingers > 0 {
		set("lingers", f.Lingers.String())
	}
	if f.Is == "" {
		return out
	}
	phase := corev1.PodFailed
	if f.ExitCode == 0 {
		phase = corev1.PodSucceeded
	}
	set("is", f.Is)
	set("reason", f.Reason)
	set("message", f.Message)
	set("container-reason", f.ContainerReason)
	set("container-message", f.ContainerMessage)
	set("disruption", f.Disruption)
	set("exit-code", strconv.Itoa(f.ExitCode))
	set("phase", string(phase))
	set("after", f.After.String())
	return out
}
