package door

import (
	"context"
	"crypto/tls"

	"github.com/nave-dev/nave/spoke"
	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

// Remote is what a door needs for harnesses on other machines: they come over TLS and prove by a token whose they are.
type Remote struct {
	// Listen is the host:port to listen on; port 0 takes a free one.
	Listen string
	// Certificate is presented at each handshake. It names [harnessv1.ServerName]; harnesses believe its authority alone.
	Certificate func() (*tls.Certificate, error)
	// Verify confirms that who bears the token is the harness of the workload. It may be called at the same time.
	Verify func(ctx context.Context, id spoke.WorkloadID, token string) error
	// Describe returns what the harness of a workload is to run. CodeNotFound when there is no such workload.
	Describe func(ctx context.Context, id spoke.WorkloadID) (*harnessv1.Workload, error)
}
