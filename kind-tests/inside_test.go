//go:build kindtests

package kindtests

import (
	"os"
	"path/filepath"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/nave-dev/nave/internal/images"
	"github.com/nave-dev/nave/internal/testcluster"
)

const (
	spokeName = "nave-spoke"
	doorPort  = 7443
	probePort = 7480
)

// spokeLabels are those of the spoke's pods.
var spokeLabels = map[string]string{"app.kubernetes.io/name": spokeName}

// spokePod is the pod of a cluster's spoke.
const spokePod = spokeName + "-0"

// inside starts a cluster's spoke in the cluster, as its operator would: with a service account that may do what the spoke needs and
// nothing else, and a volume for its data.
func (w *federated) inside(c *testcluster.Cluster, more ...string) {
	w.t.Helper()
	w.rights(c)
	w.volume(c)
	token, err := os.ReadFile(w.Path(c.Name + ".token"))
	w.must(err)
	core := c.Client.CoreV1()
	meta := metav1.ObjectMeta{Name: spokeName, Namespace: namespaceOfSpoke}
	_, err = core.Secrets(namespaceOfSpoke).Create(w.ctx, &corev1.Secret{ObjectMeta: meta, Data: map[string][]byte{"token": token}}, metav1.CreateOptions{})
	w.must(err)
	settings := string(w.settings("nave-spoke.nave-system.svc:7443"))
	_, err = core.ConfigMaps(namespaceOfSpoke).Create(w.ctx, &corev1.ConfigMap{ObjectMeta: meta, Data: map[string]string{"settings.yaml": settings}}, metav1.CreateOptions{})
	w.must(err)
	labels := spokeLabels
	_, err = core.Services(namespaceOfSpoke).Create(w.ctx, &corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{Selector: labels, PublishNotReadyAddresses: true,
		Ports: []corev1.ServicePort{{Name: "door", Port: doorPort, TargetPort: intstr.FromInt32(doorPort)}}}}, metav1.CreateOptions{})
	w.must(err)
	one, grace := int32(1), int64(10)
	set := &appsv1.StatefulSet{ObjectMeta: meta, Spec: appsv1.StatefulSetSpec{Replicas: &one, ServiceName: spokeName, Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{
			ServiceAccountName: spokeName, TerminationGracePeriodSeconds: &grace, SecurityContext: podSecurity(images.User),
			Containers: []corev1.Container{{
				Name: "spoke", Image: ofTests(w.t).Reference("nave-spoke"), ImagePullPolicy: corev1.PullNever, SecurityContext: containerSecurity(),
				Args: append([]string{"run", "--runtime", "kubernetes", "--kubernetes", "/etc/nave/settings.yaml", "--data-dir", "/var/lib/nave", "--join-token-file", "/etc/nave-token/token",
					"--metrics-listen", ":7480", "--log-level", "debug"}, more...),
				ReadinessProbe: &corev1.Probe{ProbeHandler: probeOf("/readyz"), PeriodSeconds: 2}, LivenessProbe: &corev1.Probe{ProbeHandler: probeOf("/healthz"), InitialDelaySeconds: 30},
				VolumeMounts: []corev1.VolumeMount{{Name: "data", MountPath: "/var/lib/nave"}, {Name: "settings", MountPath: "/etc/nave"}, {Name: "token", MountPath: "/etc/nave-token"}},
			}},
			Volumes: []corev1.Volume{
				{Name: "data", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: spokeName}}},
				{Name: "settings", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: spokeName}}}},
				{Name: "token", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: spokeName}}},
			},
		}}}}
	_, err = c.Client.AppsV1().StatefulSets(namespaceOfSpoke).Create(w.ctx, set, metav1.CreateOptions{})
	w.must(err)
}

// spokeReady waits until the spoke's pod is ready.
func (w *federated) spokeReady(c *testcluster.Cluster) *corev1.Pod {
	w.t.Helper()
	var pod *corev1.Pod
	w.await("the spoke of "+c.Name+" is ready", func() (ok bool, err error) {
		if pod, err = c.Client.CoreV1().Pods(namespaceOfSpoke).Get(w.ctx, spokePod, metav1.GetOptions{}); err != nil {
			return false, err
		}
		for _, is := range pod.Status.Conditions {
			if is.Type == corev1.PodReady && is.Status == corev1.ConditionTrue && pod.DeletionTimestamp == nil {
				return true, nil
			}
		}
		return false, nil
	})
	return pod
}

func probeOf(path string) corev1.ProbeHandler {
	return corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: path, Port: intstr.FromInt32(probePort)}}
}

// podSecurity and containerSecurity are what the restricted pod security standard asks for.
func podSecurity(user int64) *corev1.PodSecurityContext {
	yes := true
	return &corev1.PodSecurityContext{RunAsNonRoot: &yes, RunAsUser: &user, RunAsGroup: &user, FSGroup: &user,
		SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}}
}

func containerSecurity() *corev1.SecurityContext {
	yes, no := true, false
	return &corev1.SecurityContext{AllowPrivilegeEscalation: &no, ReadOnlyRootFilesystem: &yes, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}}
}

// volume makes a volume of a folder of this machine, for there is no storage class.
func (w *federated) volume(c *testcluster.Cluster) {
	w.t.Helper()
	dir := filepath.Join(w.volumes, c.Name)
	w.must(os.Mkdir(dir, 0o700))
	w.must(os.Chown(dir, images.User, images.User)) // the kubelet does not change who owns such a folder
	size, class := corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}, ""
	_, err := c.Client.CoreV1().PersistentVolumes().Create(w.ctx, &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: spokeName}, Spec: corev1.PersistentVolumeSpec{
		Capacity: size, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOncePod}, PersistentVolumeSource: corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: dir}},
	}}, metav1.CreateOptions{})
	w.must(err)
	_, err = c.Client.CoreV1().PersistentVolumeClaims(namespaceOfSpoke).Create(w.ctx, &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: spokeName}, Spec: corev1.PersistentVolumeClaimSpec{
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOncePod}, Resources: corev1.VolumeResourceRequirements{Requests: size}, StorageClassName: &class, VolumeName: spokeName,
	}}, metav1.CreateOptions{})
	w.must(err)
}

// rights makes the spoke's service account, and gives it what it needs beside the namespaces of organizations.
func (w *federated) rights(c *testcluster.Cluster) {
	w.t.Helper()
	_, err := c.Client.CoreV1().ServiceAccounts(namespaceOfSpoke).Create(w.ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: spokeName}}, metav1.CreateOptions{})
	w.must(err)
	w.fingerprintRights(c)
}

// fingerprintRights lets the spoke read the cluster's fingerprint.
func (w *federated) fingerprintRights(c *testcluster.Cluster) {
	w.t.Helper()
	meta := metav1.ObjectMeta{Name: spokeName, Namespace: metav1.NamespaceSystem}
	_, err := c.Client.RbacV1().Roles(meta.Namespace).Create(w.ctx, &rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"namespaces"}, ResourceNames: []string{metav1.NamespaceSystem}, Verbs: []string{"get"}}}}, metav1.CreateOptions{})
	w.must(err)
	_, err = c.Client.RbacV1().RoleBindings(meta.Namespace).Create(w.ctx, &rbacv1.RoleBinding{ObjectMeta: meta,
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: spokeName},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: spokeName, Namespace: namespaceOfSpoke}}}, metav1.CreateOptions{})
	w.must(err)
}
