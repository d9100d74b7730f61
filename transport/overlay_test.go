package transport_test

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/nave-dev/nave/transport/linktest"
	"github.com/nave-dev/nave/transport/ziti"
	"github.com/nave-dev/nave/transport/ziti/zititest"
)

// TestLinkOverTheOverlay runs the suite over a real overlay, with one hub and one spoke for all of it.
func TestLinkOverTheOverlay(t *testing.T) {
	n := zititest.Start(t)
	hub, spoke := n.Node("hub-1", ziti.RoleHub), n.Node("spoke-1", ziti.RoleSpoke)
	linktest.Run(t, func(t *testing.T) linktest.Network {
		return linktest.Network{
			Listen: func(context.Context) (net.Listener, error) {
				return hub.Listen(zititest.Context(t, time.Minute), ziti.HubService)
			},
			Dial:     func(ctx context.Context) (net.Conn, error) { return spoke.Dial(ctx, ziti.HubService) },
			Hub:      ziti.ServerCredentials(hub),
			Spoke:    ziti.ClientCredentials(spoke, ziti.AllowIDs(hub.ID())),
			Identity: ziti.PeerIdentity,
			SpokeID:  spoke.ID(),
		}
	})
}
