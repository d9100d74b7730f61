package tenant

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// left is what was applied to an object, and what it was then.
type left struct{ wanted, was [sha256.Size]byte }

// digest of a value, as JSON.
func digest(v any) [sha256.Size]byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("an object that was read from JSON cannot be written: %v", err))
	}
	return sha256.Sum256(b)
}

// content is what somebody wants of an object: without its status, which changes by itself, and without what the API server keeps of writes.
func content(u *unstructured.Unstructured) map[string]any {
	out := maps.Clone(u.Object)
	delete(out, "status")
	if meta, ok := out["metadata"].(map[string]any); ok {
		meta = maps.Clone(meta)
		for _, field := range []string{"managedFields", "resourceVersion", "generation"} {
			delete(meta, field)
		}
		out["metadata"] = meta
	}
	return out
}

// mostChanges bounds what one message says.
const mostChanges = 10

// changes are the paths of what differs in two contents. Lists are compared as a whole.
func changes(before, after map[string]any) []string {
	var out []string
	var walk func(path string, a, b any)
	walk = func(path string, a, b any) {
		from, isMap := a.(map[string]any)
		to, both := b.(map[string]any)
		if !isMap || !both {
			if !reflect.DeepEqual(a, b) {
				out = append(out, path)
			}
			return
		}
		keys := maps.Clone(from)
		maps.Copy(keys, to)
		for _, key := range slices.Sorted(maps.Keys(keys)) {
			at := path + "." + key
			if path == "" {
				at = key
			}
			walk(at, from[key], to[key])
		}
	}
	walk("", before, after)
	if len(out) > mostChanges {
		out = append(out[:mostChanges], fmt.Sprintf("%d more", len(out)-mostChanges))
	}
	return out
}

// tell logs what an apply changed: ours is that it was as this keeper left it, so that somebody else changed it since.
func (k *Keeper) tell(is, now *unstructured.Unstructured, ours bool) {
	switch {
	case is == nil && ours:
		k.log.Warn("repaired what somebody changed in the namespace of an organization", "object", name(now), "changed", "it was deleted")
	case is == nil:
	default:
		changed := changes(content(is), content(now))
		switch {
		case len(changed) == 0: // what is only another's, or comes with another version of the API server
		case ours:
			k.log.Warn("repaired what somebody changed in the namespace of an organization", "object", name(now), "changed", changed)
		default:
			k.log.Info("brought up to date what the namespace of an organization has", "object", name(now), "changed", changed)
		}
	}
}

func (k *Keeper) remembered(u *unstructured.Unstructured) (left, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	l, ok := k.left[place(u)][name(u)]
	return l, ok
}

func (k *Keeper) remember(u *unstructured.Unstructured, l left) {
	k.mu.Lock()
	defer k.mu.Unlock()
	of := k.left[place(u)]
	if of == nil {
		of = map[string]left{}
		k.left[place(u)] = of
	}
	of[name(u)] = l
}

// Forget drops what is remembered of a namespace that is gone.
func (k *Keeper) Forget(namespace string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.left, namespace)
}

// place is the namespace of an object, or which it is.
func place(u *unstructured.Unstructured) string {
	if ns := u.GetNamespace(); ns != "" {
		return ns
	}
	return u.GetName()
}
