package clusters

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// bareOf is a pod of the shape that a session's pod has: the same image, volumes, security context and token, in which nothing of
// Nave's runs.
func bareOf(session *corev1.Pod) *corev1.Pod {
	p := &corev1.Pod{Spec: *session.Spec.DeepCopy()}
	p.Spec.NodeName = ""
	p.Spec.Containers[0].Command, p.Spec.Containers[0].Args = []string{"/bin/sleep", "3600"}, nil
	return p
}

// minimal is the least pod with the image: no volume, no token.
func minimal() *corev1.Pod {
	no := false
	return &corev1.Pod{Spec: corev1.PodSpec{
		RestartPolicy: corev1.RestartPolicyNever, AutomountServiceAccountToken: &no, EnableServiceLinks: &no,
		Containers: []corev1.Container{{Name: "agent", Image: imageOfAgents, ImagePullPolicy: corev1.PullNever, Command: []string{"/bin/sleep", "3600"}, SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: &no, RunAsNonRoot: new(true), RunAsUser: new(int64(65532)), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		}}},
	}}
}

// startBare makes a pod and waits until an informer shows it running.
func (w *world) startBare(ctx context.Context, of *corev1.Pod) (s bareStart, err error) {
	p := of.DeepCopy()
	p.Namespace, p.Name = namespaceOfOrg, w.next("bare")
	s.name, s.from = p.Name, time.Now()
	if _, err := w.cluster.Client.CoreV1().Pods(p.Namespace).Create(ctx, p, metav1.CreateOptions{}); err != nil {
		return s, err
	}
	s.life, err = w.seen.await(ctx, "the bare pod runs", p.Name, begins)
	return s, err
}

// begins reports that everything of a start has been seen.
func begins(l life) bool { return !l.running.IsZero() && !l.started.IsZero() }

// endBare deletes a pod and waits until it is gone.
func (w *world) endBare(ctx context.Context, s bareStart) error {
	grace := int64(1)
	if err := w.cluster.Client.CoreV1().Pods(namespaceOfOrg).Delete(ctx, s.name, metav1.DeleteOptions{GracePeriodSeconds: &grace}); err != nil {
		return err
	}
	_, err := w.seen.await(ctx, "the bare pod is gone", s.name, func(l life) bool { return !l.gone.IsZero() })
	return err
}

// next is a name that was not used.
func (w *world) next(of string) string { return fmt.Sprintf("%s-%d", of, w.serial.Add(1)) }
