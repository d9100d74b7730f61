package tenant

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/nave-dev/nave/api"
)

// CaretakerConfig configures a [Caretaker].
type CaretakerConfig struct {
	// Keeper writes. Required.
	Keeper *Keeper
	// Spec says what an organization has in a namespace; CodeNotFound when the namespace is not the spoke's to keep. Required.
	Spec func(org api.OrgID, namespace string) (Spec, error)
	// Cluster is the id of the cluster, lower case: namespaces with it are kept. Required.
	Cluster string
	// Log gets what goes wrong. Required.
	Log *slog.Logger
	// Every is how often each namespace is looked at, a tenth more or less; default 5 min, 10 ms to 24 h. What fails is tried again after
	// 5 s, then after twice as long each time, up to Every.
	Every time.Duration
}

// Caretaker keeps the namespaces of a spoke as they should be.
type Caretaker struct {
	c CaretakerConfig

	mu   sync.Mutex
	kept map[string]*kept // by namespace
}

// kept is one namespace.
type kept struct {
	org   api.OrgID
	due   time.Time     // when it is looked at next
	pause time.Duration // after the last failure; 0 when it did not fail
	said  string        // of the last failure
}

// firstPause is how long what failed waits at first.
const firstPause = 5 * time.Second

// NewCaretaker makes a caretaker. It asks nobody yet.
func NewCaretaker(c CaretakerConfig) (*Caretaker, error) {
	switch {
	case c.Keeper == nil:
		return nil, api.Invalid("keeper", "is required")
	case c.Spec == nil:
		return nil, api.Invalid("spec", "is required")
	case c.Cluster == "":
		return nil, api.Invalid("cluster", "is required: the id by which namespaces are found")
	case c.Log == nil:
		return nil, api.Invalid("log", "is required")
	}
	if c.Every == 0 {
		c.Every = 5 * time.Minute
	}
	if c.Every < 10*time.Millisecond || c.Every > 24*time.Hour {
		return nil, api.Invalid("every", "%v: want 10ms to 24h", c.Every)
	}
	return &Caretaker{c: c, kept: map[string]*kept{}}, nil
}

// Make makes the namespace of an organization, or repairs it, and keeps it from then on.
func (c *Caretaker) Make(ctx context.Context, org api.OrgID, namespace string) error {
	s, err := c.c.Spec(org, namespace)
	if err != nil {
		return err
	}
	if err := c.c.Keeper.Apply(ctx, s); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kept[namespace] = &kept{org: org, due: time.Now().Add(about(c.c.Every))}
	return nil
}

// Run looks after the namespaces that were made, by this process or one before it, until ctx ends.
func (c *Caretaker) Run(ctx context.Context) error {
	find := kept{} // of looking for namespaces
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		}
		if !find.due.After(time.Now()) {
			c.settle(ctx, &find, "namespaces of organizations are not found", "", c.find(ctx))
		}
		next := find.due
		for _, namespace := range c.names() {
			due, ok := c.look(ctx, namespace)
			if ok && due.Before(next) {
				next = due
			}
		}
		timer.Reset(max(0, time.Until(next)))
	}
}

// find takes into care what carries the label of the cluster.
func (c *Caretaker) find(ctx context.Context) error {
	found, err := c.c.Keeper.Kept(ctx, c.c.Cluster)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for namespace, org := range found {
		if c.kept[namespace] == nil {
			c.kept[namespace] = &kept{org: org}
		}
	}
	return nil
}

func (c *Caretaker) names() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	names := make([]string, 0, len(c.kept))
	for namespace := range c.kept {
		names = append(names, namespace)
	}
	return names
}

// look repairs a namespace when it is due, and returns when it is due next; false when it is kept no more.
func (c *Caretaker) look(ctx context.Context, namespace string) (time.Time, bool) {
	c.mu.Lock()
	k, ok := c.kept[namespace]
	if !ok {
		c.mu.Unlock()
		return time.Time{}, false
	}
	is := *k
	c.mu.Unlock()
	if is.due.After(time.Now()) {
		return is.due, true
	}
	s, err := c.c.Spec(is.org, namespace)
	if err == nil {
		err = c.c.Keeper.Repair(ctx, s)
	}
	gone := api.CodeOf(err) == api.CodeNotFound
	if !gone {
		c.settle(ctx, &is, "the namespace of an organization is not as it should be", namespace, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.kept[namespace] != k: // made anew meanwhile
		return c.kept[namespace].due, true
	case gone:
		delete(c.kept, namespace)
		c.c.Keeper.Forget(namespace)
		return time.Time{}, false
	}
	*k = is
	return is.due, true
}

// settle says when to look again, and logs a failure once.
func (c *Caretaker) settle(ctx context.Context, k *kept, message, namespace string, err error) {
	if err == nil {
		k.due, k.pause, k.said = time.Now().Add(about(c.c.Every)), 0, ""
		return
	}
	k.pause = min(c.c.Every, max(2*k.pause, firstPause))
	k.due = time.Now().Add(about(k.pause))
	if said := err.Error(); said != k.said && ctx.Err() == nil {
		k.said = said
		c.c.Log.Warn(message, "namespace", namespace, "error", err)
	}
}

// about is a time, a tenth more or less, so that namespaces are not all looked at together.
func about(d time.Duration) time.Duration {
	return d - d/10 + rand.N(d/5+1)
}

// Kept are the namespaces that carry the label of a cluster's spoke, and whose they are.
func (k *Keeper) Kept(ctx context.Context, cluster string) (map[string]api.OrgID, error) {
	list, err := k.client.list(ctx, "Namespace", LabelCluster+"="+cluster+","+LabelManagedBy+"="+Manager)
	if err != nil {
		return nil, failed("list namespaces", err, remedies["Namespace"])
	}
	out := map[string]api.OrgID{}
	for _, n := range list {
		if org := n.GetLabels()[LabelOrganization]; org != "" && n.GetDeletionTimestamp() == nil {
			out[n.GetName()] = api.OrgID(org)
		}
	}
	return out, nil
}
