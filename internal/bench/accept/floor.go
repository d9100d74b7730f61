package accept

import (
	"bufio"
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/nave-dev/nave/internal/bench/floor"
)

// startFloor starts the floor's server. wrap runs before the program, if it is there.
func (w *world) startFloor(name string, args []string, wrap ...string) (*target, error) {
	cert := w.f.Path(name + ".der")
	all := append(wrap, w.b.Self, floor.Command, "accept", "--dir", w.f.Path(name), "--cert", cert, "--block", fmt.Sprint(payloadSize))
	cmd := exec.Command(all[0], append(all[1:], args...)...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	w.close = append(w.close, func() error {
		_ = in.Close() // it ends with its input
		return cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("%s did not begin to serve: %w", name, err)
	}
	der, err := os.ReadFile(cert)
	if err != nil {
		return nil, err
	}
	own, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AddCert(own)
	conns, err := w.dial(strings.TrimSpace(line), pool)
	if err != nil {
		return nil, err
	}
	payload := bytes.Repeat([]byte("p"), payloadSize)
	return &target{process: cmd.Process.Pid, put: func(ctx context.Context, client, n, many int) error {
		in, res := &wrapperspb.BytesValue{Value: payload}, &wrapperspb.StringValue{}
		if many > 0 {
			in.Value = bytes.Repeat(payload, many)
		}
		return conns[client%len(conns)].Invoke(ctx, floor.AcceptMethod, in, res)
	}}, nil
}
