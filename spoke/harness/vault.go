package harness

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

// sendBytes is how much of a checkpoint one message carries.
const sendBytes = 256 << 10

// vault hands checkpoints to the spoke and gets them back, on connections of their own: leases do not wait behind them.
type vault struct {
	w     *harnessv1.Workload
	dial  func() (*grpc.ClientConn, error)
	now   func() time.Duration
	stall time.Duration // without a byte for so long a fetch ends

	moved atomic.Int64 // when the last byte of an upload moved, by now
}

// still is for how long the upload that runs has not moved.
func (v *vault) still() time.Duration { return v.now() - time.Duration(v.moved.Load()) }

func (v *vault) progress() { v.moved.Store(int64(v.now())) }

// save returns nil when the checkpoint is in the bucket.
func (v *vault) save(ctx context.Context, h api.CheckpointHeader, content io.Reader) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	v.progress()
	cc, err := v.dial()
	if err != nil {
		return err
	}
	defer cc.Close()
	stream, err := harnessv1.NewHarnessClient(cc).Save(ctx)
	if err != nil {
		return fromStatus("save checkpoint", err)
	}
	header := &harnessv1.CheckpointHeader{Workload: v.w.Id, Id: string(h.ID), ManifestBytes: h.Manifest, PackBytes: h.Pack, PackHash: h.PackHash[:]}
	for _, p := range h.Packs {
		header.Packs = append(header.Packs, string(p))
	}
	err = stream.Send(&harnessv1.SaveRequest{Header: header})
	for buf := make([]byte, sendBytes); err == nil; {
		n, rerr := io.ReadFull(content, buf)
		if n > 0 {
			if err = stream.Send(&harnessv1.SaveRequest{Data: buf[:n]}); err != nil {
				break
			}
			v.progress()
		}
		if errors.Is(rerr, io.EOF) || errors.Is(rerr, io.ErrUnexpectedEOF) {
			break
		}
		if rerr != nil {
			return rerr
		}
	}
	if _, err = stream.CloseAndRecv(); err != nil { // says why when a message did not go
		return fromStatus("save checkpoint", err)
	}
	return nil
}

// fetch is a [checkpoint.Fetch].
func (v *vault) fetch(ctx context.Context, id api.CheckpointID, part api.CheckpointPart, offset, length int64, w io.Writer) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	late := time.AfterFunc(v.stall, func() {
		cancel(api.Errorf(api.CodeUnavailable, "nothing came from the spoke for %v", v.stall))
	})
	defer late.Stop()
	cc, err := v.dial()
	if err != nil {
		return err
	}
	defer cc.Close()
	r := &harnessv1.FetchRequest{Workload: v.w.Id, Checkpoint: string(id), Part: string(part), Offset: offset, Length: length}
	stream, err := harnessv1.NewHarnessClient(cc).Fetch(ctx, r)
	for err == nil {
		var m *harnessv1.FetchResponse
		if m, err = stream.Recv(); err == nil {
			late.Reset(v.stall)
			if _, werr := w.Write(m.Data); werr != nil {
				return werr
			}
		}
	}
	switch cause := context.Cause(ctx); {
	case errors.Is(err, io.EOF):
		return nil
	case cause != nil:
		return cause
	}
	return fromStatus("fetch checkpoint", err)
}

// codeOf says which code a status of the spoke carries.
var codeOf = map[codes.Code]api.Code{
	codes.InvalidArgument: api.CodeInvalid, codes.NotFound: api.CodeNotFound, codes.PermissionDenied: api.CodeDenied, codes.ResourceExhausted: api.CodeLimit,
	codes.Unavailable: api.CodeUnavailable, codes.Canceled: api.CodeUnavailable, codes.FailedPrecondition: api.CodeFailed, codes.Unimplemented: api.CodeUnsupported,
	codes.DeadlineExceeded: api.CodeUnavailable, codes.AlreadyExists: api.CodeExists, codes.Aborted: api.CodeConflict, codes.Unauthenticated: api.CodeUnauthenticated,
}

// fromStatus renders an error of a call to the spoke.
func fromStatus(op string, err error) error {
	st := status.Convert(err)
	code, known := codeOf[st.Code()]
	if !known {
		code = api.CodeInternal
	}
	return fmt.Errorf("%s: %w", op, api.Errorf(code, "%s", st.Message()))
}
