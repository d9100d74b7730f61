package unixsocket

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/nave-dev/nave/api"
)

// MaxPath is what the address of a unix socket can hold, in bytes.
const MaxPath = 107

// Check refuses a path that cannot be listened on. field names the setting that it comes from.
func Check(field, path string) error {
	switch {
	case !filepath.IsAbs(path):
		return api.Invalid(field, "%q: want an absolute path", path)
	case len(path) > MaxPath:
		return api.Invalid(field, "%q has %d bytes: the system allows %d, use a shorter directory", path, len(path), MaxPath)
	}
	return nil
}

// Listen listens on a path with mode 0600, in a directory that it makes with mode 0700. A socket that nobody serves any more
// is replaced; CodeInUse when somebody does.
func Listen(field, path string) (net.Listener, error) {
	if err := Check(field, path); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make the socket's directory: %w", err)
	}
	if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
		conn.Close()
		return nil, &api.Error{Code: api.CodeInUse, Field: field, Err: fmt.Errorf("another process serves %s: end it, or use another directory", path)}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove the old socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	// Who connects before this is refused by its credentials all the same.
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("protect the socket: %w", err)
	}
	return l, nil
}

// Credentials say who made a connection.
type Credentials struct {
	UID uint32
	PID int
}

// Peer reads them: SO_PEERCRED of unix(7), which names the process that called connect.
func Peer(conn net.Conn) (Credentials, error) {
	uc, ok := conn.(*net.UnixConn)
	if !ok {
		return Credentials{}, errors.New("not a unix socket")
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return Credentials{}, err
	}
	var cred *syscall.Ucred
	var cerr error
	err = raw.Control(func(fd uintptr) {
		cred, cerr = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if err := errors.Join(err, cerr); err != nil {
		return Credentials{}, fmt.Errorf("read the peer's credentials: %w", err)
	}
	return Credentials{UID: cred.Uid, PID: int(cred.Pid)}, nil
}
