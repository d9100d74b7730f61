package kube

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"time"

	"k8s.io/client-go/rest"

	"github.com/nave-dev/nave/api"
)

// Config is what a runtime needs.
type Config struct {
	Rest      *rest.Config  // of the cluster's API server; required. Without a rate of its own it asks at most 50 times a second, 100 at once
	Settings  Settings      // as [ReadSettings] returns them
	Authority []byte        // certificate of the spoke's own authority, PEM; harnesses believe nobody else. Required
	Cluster   func() string // id of the cluster, empty while it is not known: until then nothing is. Required
	Namespace string        // the spoke's own; no session lives there. Empty when the spoke runs outside
	Log       *slog.Logger  // required

	// Tenant makes the namespace of an organization and what belongs into it, or finds it made. Required with namespaces.manage,
	// and called before each start of a session of such an organization until it has succeeded once, again when the namespace was gone, and
	// when nobody lets the spoke look into the namespace any more, at most every 5 s.
	Tenant func(ctx context.Context, org api.OrgID, namespace string) error
	// Fates returns what became of sessions, as far as the hub says; an error when it says nothing. Nil: volumes stay.
	Fates     func(context.Context, []api.SessionID) (api.Fates, error)
	TidyEvery time.Duration // how often the hub is asked; default 1 min, 10 ms to 24 h
}

func (c *Config) validate() error {
	switch {
	case c.Rest == nil:
		return api.Invalid("Rest", "is required")
	case c.Cluster == nil:
		return api.Invalid("Cluster", "is required")
	case c.Log == nil:
		return api.Invalid("Log", "is required")
	case c.Settings.Namespaces.Manage && c.Tenant == nil:
		return api.Invalid("Tenant", "is required with namespaces.manage")
	}
	if block, _ := pem.Decode(c.Authority); block == nil {
		return api.Invalid("Authority", "want a certificate as PEM")
	} else if _, err := x509.ParseCertificate(block.Bytes); err != nil {
		return api.Invalid("Authority", "want a certificate as PEM: %v", err)
	}
	if c.TidyEvery = cmp.Or(c.TidyEvery, time.Minute); c.TidyEvery < 10*time.Millisecond || c.TidyEvery > 24*time.Hour {
		return api.Invalid("TidyEvery", "%v: want 10ms to 24h", c.TidyEvery)
	}
	if err := c.Settings.complete(); err != nil {
		return err
	}
	for org, ns := range c.Settings.Namespaces.Organizations {
		if ns == c.Namespace {
			return api.Invalid("namespaces.organizations", "%s: %q is the spoke's own namespace: give its sessions another", org, ns)
		}
	}
	return nil
}
