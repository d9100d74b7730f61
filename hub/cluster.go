package hub

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nave-dev/nave/api"
)

// Registry is where a fleet keeps its clusters.
type Registry interface {
	Clusters
	Departures
}

// FleetConfig is what a [Fleet] needs.
type FleetConfig struct {
	Store         Registry
	Overlay       Overlay
	Status        func(api.ClusterID) api.ClusterStatus                           // what this replica observed of a cluster; must not block
	Sessions      func(context.Context) (map[api.ClusterID]int, error)            // sessions per cluster now; default: those of Status
	Assigned      func(context.Context, api.ClusterID) ([]AssignedSession, error) // the sessions of a cluster now; default: clusters cannot rejoin
	Members       func() ([]api.Cluster, bool)                                    // the clusters as this replica knows them, for names; default: read from the store
	Revoked       func(id api.ClusterID, why string)                              // told when a cluster's identity is over; must not block; default: nobody is told
	Alarm         func(Alarm)                                                     // told when somebody must look; must not block; default: nobody is told
	LeaseTTL      time.Duration                                                   // of the hub's clusters; default DefaultLeaseTTL
	Now           func() time.Time                                                // default time.Now
	NewID         func() api.ClusterID                                            // a new ULID, never the same twice
	Random        io.Reader                                                       // of join secrets; default crypto/rand
	HubIdentities func() []string                                                 // overlay identities of the hub's replicas; default none
	Service       string                                                          // overlay service that spokes dial
	Authority     []byte                                                          // PEM of the overlay's authority
	Controllers   []string                                                        // base URLs of the overlay's controllers
	Log           *slog.Logger                                                    // default: nothing is logged
}

// Fleet keeps the clusters of an installation and enrolls their spokes. It has no state of its own and is safe for
// concurrent use.
type Fleet struct {
	cfg FleetConfig
}

// Bounds of a join token's life.
const (
	DefaultJoinLifetime = time.Hour
	MinJoinLifetime     = time.Minute
	MaxJoinLifetime     = 24 * time.Hour
)

// casAttempts is how often a read and conditional write is tried before the caller is told to.
const casAttempts = 5

// NewFleet returns a fleet.
func NewFleet(cfg FleetConfig) (*Fleet, error) {
	if cfg.Store == nil || cfg.Overlay == nil || cfg.Status == nil || cfg.NewID == nil || cfg.Service == "" {
		return nil, errors.New("fleet: Store, Overlay, Status, NewID and Service are needed")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Random == nil {
		cfg.Random = rand.Reader
	}
	if cfg.HubIdentities == nil {
		cfg.HubIdentities = func() []string { return nil }
	}
	if cfg.Revoked == nil {
		cfg.Revoked = func(api.ClusterID, string) {}
	}
	if cfg.Alarm == nil {
		cfg.Alarm = func(Alarm) {}
	}
	cfg.LeaseTTL = cmp.Or(cfg.LeaseTTL, DefaultLeaseTTL)
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Fleet{cfg: cfg}, nil
}

// Register makes a cluster and the secret with which its spoke joins once. Organization, name, labels, taints and cordoned
// of the cluster are used. A lifetime of 0 is [DefaultJoinLifetime].
//
// The secret is random and only its hash is kept, so a repeat cannot be answered with it again: a repeat, with the same
// request id or not, is CodeExists, and the way on is to delete the cluster and register it anew. With a dry run nothing is
// written and there is no secret.
func (f *Fleet) Register(ctx context.Context, c api.Cluster, lifetime time.Duration, dryRun bool, requestID string) (api.Cluster, JoinSecret, error) {
	c, err := checkCluster(c)
	if err != nil {
		return api.Cluster{}, JoinSecret{}, err
	}
	if err := checkOpaque("request_id", requestID); err != nil {
		return api.Cluster{}, JoinSecret{}, err
	}
	if c.Etag != "" {
		return api.Cluster{}, JoinSecret{}, api.Invalid("etag", "a cluster that is registered has none yet: leave it out")
	}
	if lifetime, err = checkLifetime(lifetime); err != nil {
		return api.Cluster{}, JoinSecret{}, err
	}
	now := f.cfg.Now().UTC()
	c.ID, c.CreatedAt, c.UpdatedAt, c.Identity, c.Status = f.cfg.NewID(), now, now, "", api.ClusterStatus{}
	if dryRun {
		if _, err := f.find(ctx, c.Org, c.Name); api.CodeOf(err) != api.CodeNotFound {
			return api.Cluster{}, JoinSecret{}, cmp.Or(err, clusterExists(c.Name))
		}
		c.ID = ""
		c.Status.Health = api.HealthPending
		return c, JoinSecret{}, nil
	}
	secret, hash, err := newSecret(f.cfg.Random)
	if err != nil {
		return api.Cluster{}, JoinSecret{}, err
	}
	token := api.JoinToken{Hash: hash, Cluster: c.ID, Org: c.Org, ExpiresAt: now.Add(lifetime)}
	stored, err := f.cfg.Store.CreateCluster(ctx, c, token)
	if err != nil {
		if api.CodeOf(err) == api.CodeExists {
			err = clusterExists(c.Name)
		}
		return api.Cluster{}, JoinSecret{}, err
	}
	f.cfg.Log.Info("cluster registered", "cluster", stored.ID, "name", stored.Name)
	return f.observed(stored), JoinSecret{Secret: secret, ExpiresAt: token.ExpiresAt}, nil
}

func clusterExists(name string) error {
	return &api.Error{Code: api.CodeExists, Field: "name", Err: fmt.Errorf("cluster %q is registered: choose another name; for a new join token let it rejoin", name)}
}

// checkCluster checks what a client declares and fills the organization in.
func checkCluster(c api.Cluster) (api.Cluster, error) {
	org, err := checkNamed(c.Org, c.Name)
	if err != nil {
		return c, err
	}
	c.Org = org
	if err := api.ValidateLabels("labels", c.Labels); err != nil {
		return c, err
	}
	if err := api.ValidateTaints("taints", c.Taints); err != nil {
		return c, err
	}
	return c, checkOpaque("etag", c.Etag)
}

// Cluster returns a cluster by name, with what was observed of it.
func (f *Fleet) Cluster(ctx context.Context, org api.OrgID, name string) (api.Cluster, error) {
	org, err := checkNamed(org, name)
	if err != nil {
		return api.Cluster{}, err
	}
	c, err := f.find(ctx, org, name)
	if err != nil {
		return api.Cluster{}, err
	}
	return f.counted(ctx, c)
}

// counted fills in how many sessions the cluster has now.
func (f *Fleet) counted(ctx context.Context, c api.Cluster) (api.Cluster, error) {
	n, err := f.count(ctx)
	if err == nil && n != nil {
		c.Status.Sessions = n[c.ID]
	}
	return c, err
}

// countWithin bounds the wait for shards that are busy.
const countWithin = 10 * time.Second

// count returns how many sessions each cluster has now, nil when only the status knows.
func (f *Fleet) count(ctx context.Context) (map[api.ClusterID]int, error) {
	if f.cfg.Sessions == nil {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, countWithin)
	defer cancel()
	n, err := f.cfg.Sessions(ctx)
	if err != nil {
		return nil, &api.Error{Code: api.CodeUnavailable, Op: "count sessions", Err: err}
	}
	if n == nil {
		n = map[api.ClusterID]int{}
	}
	return n, nil
}

func (f *Fleet) find(ctx context.Context, org api.OrgID, name string) (api.Cluster, error) {
	all, err := f.cfg.Store.Clusters(ctx)
	if err != nil {
		return api.Cluster{}, err
	}
	i := slices.IndexFunc(all, func(c api.Cluster) bool { return c.Org == org && c.Name == name })
	if i < 0 {
		return api.Cluster{}, &api.Error{Code: api.CodeNotFound, Field: "name", Err: fmt.Errorf("there is no cluster %q", name)}
	}
	return f.observed(all[i]), nil
}

// ByID returns a cluster by id, with what was observed of it.
func (f *Fleet) ByID(ctx context.Context, id api.ClusterID) (api.Cluster, error) {
	all, err := f.cfg.Store.Clusters(ctx)
	if err != nil {
		return api.Cluster{}, err
	}
	i := slices.IndexFunc(all, func(c api.Cluster) bool { return c.ID == id })
	if i < 0 {
		return api.Cluster{}, api.Errorf(api.CodeNotFound, "there is no cluster with id %q", id)
	}
	return f.observed(all[i]), nil
}

// Names returns the names of the clusters of an organization by id. They may be about a second old.
func (f *Fleet) Names(ctx context.Context, org api.OrgID) (map[api.ClusterID]string, error) {
	var all []api.Cluster
	known := false
	if f.cfg.Members != nil {
		all, known = f.cfg.Members()
	}
	if !known {
		var err error
		if all, err = f.cfg.Store.Clusters(ctx); err != nil {
			return nil, err
		}
	}
	names := make(map[api.ClusterID]string, len(all))
	for _, c := range all {
		if c.Org == org {
			names[c.ID] = c.Name
		}
	}
	return names, nil
}

// List returns a page of the clusters whose labels match the selector, by name, and the token of the next page.
func (f *Fleet) List(ctx context.Context, org api.OrgID, selector string, pageSize int, pageToken string) ([]api.Cluster, string, error) {
	org, err := Organization(org)
	if err != nil {
		return nil, "", err
	}
	reqs, err := api.ParseSelector(selector)
	if err != nil {
		return nil, "", err
	}
	pages, err := NewPager(pageSize, pageToken, "clusters", string(org), selector)
	if err != nil {
		return nil, "", err
	}
	all, err := f.cfg.Store.Clusters(ctx)
	if err != nil {
		return nil, "", err
	}
	n, err := f.count(ctx)
	if err != nil {
		return nil, "", err
	}
	slices.SortFunc(all, func(a, b api.Cluster) int { return strings.Compare(a.Name, b.Name) })
	var out []api.Cluster
	for _, c := range all {
		if c.Org != org || c.Name <= pages.After || !api.MatchAll(reqs, c.Labels) {
			continue
		}
		if len(out) == pages.Size {
			return out, pages.Token(out[len(out)-1].Name), nil
		}
		c = f.observed(c)
		if n != nil {
			c.Status.Sessions = n[c.ID]
		}
		out = append(out, c)
	}
	return out, "", nil
}

// Update replaces labels, taints and cordoned of the named cluster. An etag guards the write; without one it goes on top of
// whatever is there.
func (f *Fleet) Update(ctx context.Context, c api.Cluster, dryRun bool) (api.Cluster, WriteOutcome, error) {
	c, err := checkCluster(c)
	if err != nil {
		return api.Cluster{}, "", err
	}
	for range casAttempts {
		present, err := f.find(ctx, c.Org, c.Name)
		if err != nil {
			return api.Cluster{}, "", err
		}
		if c.Etag != "" && c.Etag != present.Etag {
			return api.Cluster{}, "", conflict("cluster %q has changed since it was read: read it again, then repeat", c.Name)
		}
		if maps.Equal(present.Labels, c.Labels) && slices.Equal(present.Taints, c.Taints) && present.Cordoned == c.Cordoned {
			present, err = f.counted(ctx, present)
			return present, Unchanged, err
		}
		next := present
		next.Labels, next.Taints, next.Cordoned, next.UpdatedAt = maps.Clone(c.Labels), slices.Clone(c.Taints), c.Cordoned, f.cfg.Now().UTC()
		if dryRun {
			return next, Updated, nil
		}
		next.Status = api.ClusterStatus{}
		stored, err := f.cfg.Store.UpdateCluster(ctx, next)
		if api.CodeOf(err) == api.CodeConflict {
			continue
		}
		if err != nil {
			return api.Cluster{}, "", err
		}
		stored, err = f.counted(ctx, f.observed(stored))
		return stored, Updated, err
	}
	return api.Cluster{}, "", conflict("cluster %q is being changed by others: repeat", c.Name)
}

// Delete removes a cluster that has no sessions, with its tokens, its lease and its overlay identity; its spoke's link and
// its connection are cut. CodeInUse while sessions are assigned to it: one that is assigned while the others are counted makes
// it count again. Should the overlay fail after the cluster is removed, the spoke has no right any more, and the error names
// the identity that is left.
func (f *Fleet) Delete(ctx context.Context, org api.OrgID, name, etag string, dryRun bool) error {
	org, err := checkNamed(org, name)
	if err != nil {
		return err
	}
	if err := checkOpaque("etag", etag); err != nil {
		return err
	}
	for range casAttempts {
		c, err := f.find(ctx, org, name)
		if err != nil {
			return err
		}
		if etag != "" && etag != c.Etag {
			return conflict("cluster %q has changed since it was read: read it again, then repeat", name)
		}
		mark, err := f.cfg.Store.Placements(ctx, c.ID) // before they are counted
		if err != nil {
			return err
		}
		if c, err = f.counted(ctx, c); err != nil {
			return err
		}
		if n := c.Status.Sessions; n > 0 {
			return api.Errorf(api.CodeInUse, "cluster %q has %d sessions: cordon it and wait until they are gone, then repeat", name, n)
		}
		if dryRun {
			return nil
		}
		err = f.cfg.Store.DeleteCluster(ctx, c.ID, c.Etag, mark)
		if api.CodeOf(err) == api.CodeConflict {
			continue
		}
		if err != nil {
			return err
		}
		f.cfg.Revoked(c.ID, "the cluster was removed")
		f.cfg.Log.Info("cluster deleted", "cluster", c.ID, "name", name)
		if c.Identity == "" {
			return nil
		}
		if err := f.cfg.Overlay.DeleteIdentity(ctx, c.Identity); err != nil {
			f.cfg.Log.Error("the overlay keeps the identity of a removed cluster: delete it there", "cluster", c.ID, "identity", c.Identity, "error", err)
			return &api.Error{Code: api.CodeUnavailable, Op: "delete identity " + c.Identity, Err: fmt.Errorf("the cluster is removed, the overlay keeps its spoke's identity: %w", err)}
		}
		return nil
	}
	return conflict("cluster %q is being changed by others: repeat", name)
}

// observed adds what this replica knows of the cluster.
func (f *Fleet) observed(c api.Cluster) api.Cluster {
	c.Status = f.cfg.Status(c.ID)
	if c.Identity == "" && c.Status.Health == "" {
		c.Status.Health = api.HealthPending
	}
	return c
}
