package kube

import (
	"context"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nave-dev/nave/api"
)

// volumeName is the name of the claim of a session's volume.
func volumeName(id api.SessionID, volume string) string {
	return strings.ToLower(string(id)) + "-" + volume
}

// volumeClaims renders the claims of a session's volumes, which outlive its pods.
func volumeClaims(id api.SessionID, env *api.EnvironmentSpec, cluster, namespace string) []*corev1.PersistentVolumeClaim {
	var out []*corev1.PersistentVolumeClaim
	for _, v := range env.Volumes {
		if v.Ephemeral {
			continue
		}
		labels := sessionLabels(id, cluster)
		labels[LabelVolume] = v.Name
		c := &corev1.PersistentVolumeClaim{
			ObjectMeta: metav1.ObjectMeta{
				Name: volumeName(id, v.Name), Namespace: namespace, Labels: labels,
				Annotations: map[string]string{annotationLive: v.TimeToLive.String(), annotationMount: v.Mount},
			},
			Spec: corev1.PersistentVolumeClaimSpec{
				AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
				Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: *bytesOf(v.SizeBytes)}},
			},
		}
		if v.Class != "" {
			c.Spec.StorageClassName = &v.Class
		}
		out = append(out, c)
	}
	return out
}

// claimVolumes makes the claims of a session that starts. From then on none of them is deleted but by people.
func (r *Runtime) claimVolumes(ctx context.Context, claims []*corev1.PersistentVolumeClaim) error {
	if len(claims) == 0 {
		return nil
	}
	r.volumes.RLock()
	defer r.volumes.RUnlock()
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	for _, v := range claims {
		if err := r.claimVolume(ctx, v); err != nil {
			return err
		}
	}
	return nil
}

// claimVolume makes the claim of a volume, or finds it made. One that is being deleted has its last moments: the volume of a
// workload that begins is another.
func (r *Runtime) claimVolume(ctx context.Context, v *corev1.PersistentVolumeClaim) error {
	claims := r.core.PersistentVolumeClaims(v.Namespace)
	for pause := 50 * time.Millisecond; ; pause *= 2 {
		_, err := claims.Create(ctx, v, metav1.CreateOptions{})
		if !apierrors.IsAlreadyExists(err) {
			return call{"create", "persistentvolumeclaims", v.Namespace}.fail(err)
		}
		have, err := claims.Get(ctx, v.Name, metav1.GetOptions{})
		switch {
		case err == nil && have.DeletionTimestamp == nil:
			return nil
		case err != nil && !apierrors.IsNotFound(err):
			return call{"get", "persistentvolumeclaims", v.Namespace}.fail(err)
		}
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return api.Errorf(api.CodeUnavailable, "the claim %s in namespace %s is being deleted and does not go: see who uses it", v.Name, v.Namespace)
		}
	}
}

func bytesOf(n int64) *resource.Quantity { return resource.NewQuantity(n, resource.BinarySI) }

// volumesOf renders the volumes of a pod that its environment names, and where they are mounted.
func volumesOf(id api.SessionID, env *api.EnvironmentSpec) (volumes []corev1.Volume, mounts []corev1.VolumeMount) {
	for i, v := range env.Volumes {
		volume := corev1.Volume{Name: "own-" + strconv.Itoa(i)} // a name of theirs may be too long
		if v.Ephemeral {
			volume.EmptyDir = &corev1.EmptyDirVolumeSource{SizeLimit: bytesOf(v.SizeBytes)}
		} else {
			volume.PersistentVolumeClaim = &corev1.PersistentVolumeClaimVolumeSource{ClaimName: volumeName(id, v.Name)}
		}
		volumes = append(volumes, volume)
		mounts = append(mounts, corev1.VolumeMount{Name: volume.Name, MountPath: v.Mount})
	}
	return volumes, mounts
}
