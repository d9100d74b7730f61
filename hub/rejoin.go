package hub

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/nave-dev/nave/api"
)

// Rejoin lets another spoke take a cluster over: the present spoke's identity is revoked and its link cut, and there is a new
// join token; older ones are void. The new spoke may enroll at once and is let in when nobody was heard for as long as the
// agents of the sessions that are assigned there may act; what was assigned is over then. It returns how long that is at the
// longest. A lifetime of 0 is [DefaultJoinLifetime].
//
// CodeInUse for the field "force" while sessions with stop_after "never" are assigned there, unless force is the cluster's
// name: only a person can know that they do not run any more. With a dry run nothing is changed and there is no secret.
//
// Should it fail half-way, the former spoke cannot connect any more, and a repeat completes it.
func (f *Fleet) Rejoin(ctx context.Context, org api.OrgID, name string, lifetime time.Duration, force string, dryRun bool) (api.Cluster, JoinSecret, time.Duration, error) {
	fail := func(err error) (api.Cluster, JoinSecret, time.Duration, error) {
		return api.Cluster{}, JoinSecret{}, 0, err
	}
	org, err := checkNamed(org, name)
	if err != nil {
		return fail(err)
	}
	if force != "" && force != name {
		return fail(api.Invalid("force", "%.40q is not the cluster's name: repeat the name to force it, or leave it out", force))
	}
	if lifetime, err = checkLifetime(lifetime); err != nil {
		return fail(err)
	}
	if f.cfg.Assigned == nil {
		return fail(api.Errorf(api.CodeUnsupported, "this hub cannot tell which sessions a cluster has"))
	}
	for range casAttempts {
		c, err := f.find(ctx, org, name)
		if err != nil {
			return fail(err)
		}
		fence, err := f.fence(ctx, c, force)
		if err != nil {
			return fail(err)
		}
		next, now := c, f.cfg.Now().UTC()
		next.Identity, next.Fence, next.Status, next.UpdatedAt = "", fence, api.ClusterStatus{}, now
		if dryRun {
			return f.observed(next), JoinSecret{}, f.wait(fence), nil
		}
		secret, hash, err := newSecret(f.cfg.Random)
		if err != nil {
			return fail(err)
		}
		if c.Identity != "" {
			if err := f.cfg.Overlay.DeleteIdentity(ctx, c.Identity); err != nil {
				return fail(err)
			}
			f.cfg.Revoked(c.ID, "the spoke's identity was revoked: the cluster rejoins")
		}
		token := api.JoinToken{Hash: hash, Cluster: c.ID, Org: c.Org, ExpiresAt: now.Add(lifetime)}
		stored, err := f.cfg.Store.RejoinCluster(ctx, next, token)
		if api.CodeOf(err) == api.CodeConflict {
			continue
		}
		if err != nil {
			return fail(err)
		}
		// What was assigned while this went on counts too; its time is counted again when the new spoke comes.
		if fence, err = f.fence(ctx, stored, force); err != nil {
			return fail(err)
		}
		f.cfg.Log.Warn("cluster rejoins: its former spoke was revoked", "cluster", c.ID, "name", name, "fence", fence, "forced", force != "")
		return f.observed(stored), JoinSecret{Secret: secret, ExpiresAt: token.ExpiresAt}, f.wait(fence), nil
	}
	return fail(conflict("cluster %q is being changed by others: repeat", name))
}

// fence is for how long nobody may be heard of a cluster until everything that is assigned to it has lapsed. It is never
// shorter than what is recorded, and never nothing where a spoke was: something may be on its way there.
func (f *Fleet) fence(ctx context.Context, c api.Cluster, force string) (time.Duration, error) {
	within, cancel := context.WithTimeout(ctx, countWithin)
	defer cancel()
	there, err := f.cfg.Assigned(within, c.ID)
	if err != nil {
		return 0, &api.Error{Code: api.CodeUnavailable, Op: "list the cluster's sessions", Err: err}
	}
	fence := c.Fence
	if c.Identity != "" {
		fence = max(fence, time.Second)
	}
	var never []api.SessionID
	for _, s := range there {
		if s.StopAfter == api.StopNever {
			never = append(never, s.ID)
			continue
		}
		fence = max(fence, fenceAfter(s.StopAfter, f.cfg.LeaseTTL))
	}
	if len(never) > 0 && force != c.Name {
		return 0, &api.Error{Code: api.CodeInUse, Field: "force", Err: fmt.Errorf("the agents of %s never stop by themselves (stop_after: never) and may still run at the former spoke: "+
			"make sure that they do not, then repeat with force set to the cluster's name %q", listSessions(never), c.Name)}
	}
	return fence, nil
}

// wait is how long the new spoke waits at the longest after a fence began.
func (f *Fleet) wait(fence time.Duration) time.Duration {
	if fence == 0 {
		return 0
	}
	return fence + f.cfg.LeaseTTL
}

// listSessions names up to twenty sessions.
func listSessions(ids []api.SessionID) string {
	const most = 20
	var names []string
	for i, id := range ids {
		if i == most {
			names = append(names, fmt.Sprintf("%d more", len(ids)-most))
			break
		}
		names = append(names, string(id))
	}
	return strings.Join(names, ", ")
}

// checkLifetime checks how long a join token may live, and fills the default in.
func checkLifetime(lifetime time.Duration) (time.Duration, error) {
	lifetime = cmp.Or(lifetime, DefaultJoinLifetime)
	if lifetime < MinJoinLifetime || lifetime > MaxJoinLifetime {
		return 0, api.Invalid("token_lifetime", "%v: want %v to %v, or leave it out for %v", lifetime, MinJoinLifetime, MaxJoinLifetime, DefaultJoinLifetime)
	}
	return lifetime, nil
}
