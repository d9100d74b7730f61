package kube

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/nave-dev/nave/api"
)

// obstacle is what keeps a pod from running.
type obstacle struct {
	Kind obstacleKind
	Text string // for people; empty when nothing holds it up but time
}

// obstacleKind says how long an obstacle may last.
type obstacleKind string

// The kinds of obstacles.
const (
	obstacleNone   obstacleKind = ""       // it runs
	obstacleTime   obstacleKind = "time"   // it is being made
	obstacleNode   obstacleKind = "node"   // no node has room
	obstacleImage  obstacleKind = "image"  // an image cannot be had
	obstacleName   obstacleKind = "name"   // an image has no name that could be pulled
	obstacleConfig obstacleKind = "config" // a container cannot be made as it is described
	obstacleCrash  obstacleKind = "crash"  // a tool server ends again and again
)

// bounds say how long an obstacle may last, and which kind of failed start it is then. 0 is as long as a start may last.
var bounds = map[obstacleKind]struct {
	limit   time.Duration
	failure api.StartFailure
}{
	obstacleTime:   {0, api.StartFailureRuntime},
	obstacleNode:   {0, api.StartFailureRuntime},
	obstacleImage:  {time.Minute, api.StartFailureImage},
	obstacleName:   {time.Nanosecond, api.StartFailureImage},
	obstacleConfig: {20 * time.Second, api.StartFailureConfig},
	obstacleCrash:  {0, api.StartFailureConfig},
}

// obstacles are the reasons for which a container waits.
var obstacles = map[string]obstacleKind{
	"ErrImagePull": obstacleImage, "ImagePullBackOff": obstacleImage, "ErrImageNeverPull": obstacleImage, "ImageInspectError": obstacleImage,
	"RegistryUnavailable": obstacleImage, "SignatureValidationFailed": obstacleImage, "ErrImageVolumeMount": obstacleImage,
	"InvalidImageName":           obstacleName,
	"CreateContainerConfigError": obstacleConfig, "CreateContainerError": obstacleConfig, "RunContainerError": obstacleConfig,
	"PreCreateHookError": obstacleConfig, "PreStartHookError": obstacleConfig, "PostStartHookError": obstacleConfig,
	"CrashLoopBackOff": obstacleCrash,
}

// waiting says what keeps a pod from running. Once its harness has begun nothing does: what becomes of a tool server then is the
// agent's to see.
func waiting(pod *corev1.Pod) obstacle {
	for _, c := range pod.Status.ContainerStatuses {
		if c.Name == containerHarness && (c.State.Running != nil || c.State.Terminated != nil) {
			return obstacle{}
		}
	}
	for _, c := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if w := c.State.Waiting; w != nil {
			if kind, ok := obstacles[w.Reason]; ok {
				text := strings.TrimSuffix(fmt.Sprintf("container %s: %s: %s", c.Name, w.Reason, w.Message), ": ")
				if end := serverEnd(c); kind == obstacleCrash && end != "" {
					text += ": " + end
				}
				return obstacle{kind, clean(text)}
			}
		}
	}
	if s := condition(pod, corev1.PodScheduled); s.Status == corev1.ConditionFalse {
		return obstacle{obstacleNode, clean(strings.TrimSuffix(fmt.Sprintf("no node takes it: %s: %s", s.Reason, s.Message), ": "))}
	}
	return obstacle{Kind: obstacleTime}
}

// giveUp says why a pod that does not start is given up now; false to go on waiting. It has been seen with this kind of obstacle
// for the first time, and has not lost it since, for as long as same says, and it exists for as long as age says.
func giveUp(o obstacle, same, age, startLimit time.Duration) (ending, bool) {
	bound, ok := bounds[o.Kind]
	switch {
	case !ok:
		return ending{}, false
	case age >= startLimit:
		text := fmt.Sprintf("not started in %v", startLimit)
		if o.Text != "" {
			text += ": " + o.Text
		}
		return ending{Exit: text, Failure: bound.failure}, true
	case bound.limit > 0 && same >= bound.limit:
		return ending{Exit: o.Text, Failure: bound.failure}, true
	}
	return ending{}, false
}
