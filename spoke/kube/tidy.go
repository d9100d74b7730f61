package kube

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nave-dev/nave/api"
)

// tidy asks the hub now and then what became of the sessions whose volumes are here and that no workload is of, until ctx ends. It
// deletes the volumes of those that are over after their time to live, and the state of those that go on elsewhere. A question has
// at most [api.MaxFates] sessions; those behind them have their turn next.
func (r *Runtime) tidy(ctx context.Context) error {
	tick := time.NewTicker(r.c.TidyEvery)
	defer tick.Stop()
	var after api.SessionID // the last one that was asked about
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		next, err := r.tidyOnce(ctx, after, time.Now())
		if err != nil && ctx.Err() == nil {
			r.c.Log.Warn("volumes of sessions that are over are not looked after", "error", err)
		}
		after = next
	}
}

// tidyOnce asks one question and does what follows from the answer.
func (r *Runtime) tidyOnce(ctx context.Context, after api.SessionID, now time.Time) (next api.SessionID, err error) {
	volumes, err := r.resting(ctx)
	if err != nil {
		return after, err
	}
	asked := slices.DeleteFunc(slices.Sorted(maps.Keys(volumes)), func(id api.SessionID) bool { return id <= after })
	if len(asked) == 0 {
		return "", nil
	}
	if len(asked) > api.MaxFates {
		asked = asked[:api.MaxFates]
		next = asked[len(asked)-1]
	}
	fates, err := r.c.Fates(ctx, asked)
	if err != nil {
		r.c.Log.Debug("not known what became of sessions", "error", err)
		return after, nil
	}
	for _, id := range asked {
		over, moved := slices.Contains(fates.Ended, id), slices.Contains(fates.Moved, id)
		for _, v := range volumes[id] {
			var err error
			switch {
			case over:
				err = r.release(ctx, v, now)
			case moved && ofState(v): // nothing begins from it any more; what is on other volumes is in no checkpoint, and stays
				err = r.abandon(ctx, id, v)
			}
			if err != nil {
				return after, err
			}
		}
	}
	return next, nil
}

// ofState reports whether a volume has the state of its session, which checkpoints have too.
func ofState(v corev1.PersistentVolumeClaim) bool { return v.Annotations[annotationMount] == dirState }

// abandon deletes a volume of a session that may come back: not while it does.
func (r *Runtime) abandon(ctx context.Context, id api.SessionID, v corev1.PersistentVolumeClaim) error {
	r.volumes.Lock()
	defer r.volumes.Unlock()
	if r.busy(id) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	if err := gone(r.core.PersistentVolumeClaims(v.Namespace).Delete(ctx, v.Name, only(v.UID))); err != nil {
		return call{"delete", "persistentvolumeclaims", v.Namespace}.fail(err)
	}
	r.c.Log.Info("volume deleted: its session goes on in another cluster", "volume", v.Name, "namespace", v.Namespace)
	return nil
}

// busy reports whether there is a workload of a session.
func (r *Runtime) busy(session api.SessionID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id := range r.itemsLocked() {
		if id.Session == session {
			return true
		}
	}
	return false
}

// resting are the volumes of sessions that no workload is of.
func (r *Runtime) resting(ctx context.Context) (map[api.SessionID][]corev1.PersistentVolumeClaim, error) {
	if err := r.await(ctx); err != nil {
		return nil, err
	}
	r.mu.Lock()
	err, label := r.readyLocked(), selector(r.cluster)
	namespaces, busy := slices.Sorted(maps.Keys(r.places)), map[api.SessionID]bool{}
	for id := range r.itemsLocked() {
		busy[id.Session] = true
	}
	r.mu.Unlock()
	if err != nil {
		return nil, err
	}
	out := map[api.SessionID][]corev1.PersistentVolumeClaim{}
	for _, ns := range namespaces {
		o := metav1.ListOptions{LabelSelector: label, Limit: 500}
		for {
			one, cancel := context.WithTimeout(ctx, callLimit)
			list, err := r.core.PersistentVolumeClaims(ns).List(one, o)
			cancel()
			if err != nil {
				return nil, call{"list", "persistentvolumeclaims", ns}.fail(err)
			}
			for _, v := range list.Items {
				id := api.SessionID(strings.ToUpper(v.Labels[LabelSession]))
				if _, err := api.ParseULID(string(id)); err == nil && !busy[id] && v.DeletionTimestamp == nil {
					out[id] = append(out[id], v)
				}
			}
			if o.Continue = list.Continue; o.Continue == "" {
				break
			}
		}
	}
	return out, nil
}

// release deletes a volume of a session that is over; before its time to live has passed it notes when that began.
func (r *Runtime) release(ctx context.Context, v corev1.PersistentVolumeClaim, now time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	volumes := r.core.PersistentVolumeClaims(v.Namespace)
	switch due(v.Annotations, now) {
	case volumeKept:
		return nil
	case volumeEnds:
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": v.UID, "annotations": map[string]string{annotationEnded: now.UTC().Format(time.RFC3339)}}})
		if err != nil {
			return err
		}
		_, err = volumes.Patch(ctx, v.Name, types.MergePatchType, patch, metav1.PatchOptions{})
		return call{"patch", "persistentvolumeclaims", v.Namespace}.fail(gone(err))
	}
	if err := gone(volumes.Delete(ctx, v.Name, only(v.UID))); err != nil {
		return call{"delete", "persistentvolumeclaims", v.Namespace}.fail(err)
	}
	r.c.Log.Info("volume deleted: its session is over", "volume", v.Name, "namespace", v.Namespace)
	return nil
}

// fate is what is to be done with a volume of a session that is over.
type fate int

const (
	volumeKept fate = iota // its time to live has not passed, or cannot be read
	volumeEnds             // its time to live begins
	volumeOver             // it is to be deleted
)

// due decides by what is noted with the volume. What cannot be read keeps it.
func due(notes map[string]string, now time.Time) fate {
	live, err := time.ParseDuration(notes[annotationLive])
	if err != nil || live < 0 {
		return volumeKept
	}
	if live == 0 {
		return volumeOver
	}
	if notes[annotationEnded] == "" {
		return volumeEnds
	}
	since, err := time.Parse(time.RFC3339, notes[annotationEnded])
	if err != nil || now.Before(since.Add(live)) {
		return volumeKept
	}
	return volumeOver
}
