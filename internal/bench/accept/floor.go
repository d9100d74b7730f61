package accept

import (
	"bytes"
	"context"
	"fmt"
	"os"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/nave-dev/nave/internal/bench/floor"
)

// startFloor starts the floor's server. wrap runs before the program, if it is there.
func (w *world) startFloor(ctx context.Context, name string, args []string, wrap ...string) (*target, error) {
	keys := w.f.Path(name + "-keys")
	if err := os.Mkdir(keys, 0o700); err != nil {
		return nil, err
	}
	c, err := floor.Wrapped(ctx, wrap, append([]string{w.b.Self, floor.Command, "accept", "--dir", w.f.Path(name), "--keys", keys, "--block", fmt.Sprint(payloadSize)}, args...)...)
	if err != nil {
		return nil, err
	}
	w.close = append(w.close, c.Close)
	creds, err := floor.Mutual(keys)
	if err != nil {
		return nil, err
	}
	conns, err := w.dial(c.Says[0], creds)
	if err != nil {
		return nil, err
	}
	payload := bytes.Repeat([]byte("p"), payloadSize)
	return &target{process: c.ID(), profiling: c.Says[1], put: func(ctx context.Context, client, n, many int) error {
		in, res := &wrapperspb.BytesValue{Value: payload}, &wrapperspb.StringValue{}
		if many > 0 {
			in.Value = bytes.Repeat(payload, many)
		}
		return conns[client%len(conns)].Invoke(ctx, floor.AcceptMethod, in, res)
	}}, nil
}
