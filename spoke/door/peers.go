package door

import (
	"context"
	"errors"
	"fmt"
	"net"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/nave-dev/nave/internal/unixsocket"
)

// peers are transport credentials by which the kernel says who connects.
type peers struct{ uid uint32 }

// peerInfo is what is known of a connection.
type peerInfo struct {
	credentials.CommonAuthInfo
	pid int
}

// AuthType implements [credentials.AuthInfo].
func (peerInfo) AuthType() string { return "peercred" }

// ServerHandshake implements [credentials.TransportCredentials]: it refuses other users.
func (p peers) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	cred, err := unixsocket.Peer(conn)
	if err != nil {
		return nil, nil, err
	}
	if cred.UID != p.uid {
		return nil, nil, fmt.Errorf("user %d may not connect", cred.UID)
	}
	info := peerInfo{pid: cred.PID}
	info.SecurityLevel = credentials.PrivacyAndIntegrity
	return conn, info, nil
}

// ClientHandshake implements [credentials.TransportCredentials].
func (peers) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("for servers only")
}

// Info implements [credentials.TransportCredentials].
func (peers) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "peercred"}
}

// Clone implements [credentials.TransportCredentials].
func (p peers) Clone() credentials.TransportCredentials { return p }

// OverrideServerName implements [credentials.TransportCredentials].
func (peers) OverrideServerName(string) error { return nil }

// pidOf is the process behind a call.
func pidOf(ctx context.Context) (int, bool) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return 0, false
	}
	info, ok := p.AuthInfo.(peerInfo)
	return info.pid, ok
}
