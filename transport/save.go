package transport

import (
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/transport/linkv1"
)

// Bounds of the checkpoints that travel.
const (
	chunkBytes   = 256 << 10       // of one message that we send
	maxChunk     = 1 << 20         // of one message that we take
	maxTransfers = 4               // at a time on one link; further ones wait at the spoke
	standstill   = 2 * time.Minute // a transfer that does not move for so long is given up
	bulkIdle     = time.Minute     // the connection for checkpoints is let go when it was not used for so long
)

// errLinkOver is why a transfer ends whose link does.
var errLinkOver = api.Errorf(api.CodeUnavailable, "the link ended")

// SaveCheckpoint sends the manifest and then the pack, exactly the bytes that the header names, and returns nil when the hub
// said that they are verified and durable. CodeUnavailable without a link, when it is lost, and when nothing moves for two
// minutes. content is read by this call alone; a read of it that blocks holds this call up.
func (l *Link) SaveCheckpoint(ctx context.Context, header api.CheckpointHeader, content io.Reader) error {
	if err := validHeader(header); err != nil {
		return err
	}
	return l.transfer(ctx, func(ctx context.Context, bulk linkv1.LinkClient, moved func()) error {
		stream, err := bulk.Save(ctx)
		if err != nil {
			return err
		}
		err = stream.Send(&linkv1.SaveRequest{Header: headerTo(header)})
		if err == nil {
			err = sendContent(stream, header.Manifest+header.Pack, content, moved)
		}
		if err != nil && !errors.Is(err, io.EOF) { // io.EOF: the hub has answered already
			return err
		}
		_, err = stream.CloseAndRecv()
		return err
	})
}

// sendContent sends exactly left bytes of content.
func sendContent(stream linkv1.Link_SaveClient, left int64, content io.Reader, moved func()) error {
	for left > 0 {
		chunk := make([]byte, min(left, chunkBytes)) // a new one each time: gRPC keeps what it was given
		if _, err := io.ReadFull(content, chunk); err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				return api.Invalid("content", "it ends %d bytes or less before the size that the header names", left)
			}
			return contentError{err}
		}
		if err := stream.Send(&linkv1.SaveRequest{Data: chunk}); err != nil {
			return err
		}
		left -= int64(len(chunk))
		moved()
	}
	var one [1]byte
	switch n, err := io.ReadFull(content, one[:]); {
	case n > 0:
		return api.Invalid("content", "it is longer than the size that the header names")
	case !errors.Is(err, io.EOF):
		return contentError{err}
	}
	return nil
}

// contentError is what the caller's own reader or writer failed with. It is returned as it is.
type contentError struct{ error }

func (e contentError) Unwrap() error { return e.error }

// transfer runs one transfer of a checkpoint on the present connection. moved is to be called whenever something went
// through; the context that f gets ends when nothing does, when the link ends, and with the caller's.
func (l *Link) transfer(caller context.Context, f func(ctx context.Context, bulk linkv1.LinkClient, moved func()) error) error {
	c := l.connection()
	if c == nil {
		return errNoLink()
	}
	select {
	case l.transfers <- struct{}{}:
		defer func() { <-l.transfers }()
	case <-c.over.Done():
		return errLinkOver
	case <-caller.Done():
		return context.Cause(caller)
	}
	ctx, cancel := context.WithCancelCause(caller)
	defer cancel(nil)
	idle := time.AfterFunc(standstill, func() {
		cancel(api.Errorf(api.CodeUnavailable, "nothing of the checkpoint moved for %v", standstill))
	})
	defer idle.Stop()
	defer context.AfterFunc(c.over, func() { cancel(errLinkOver) })()
	err := f(ctx, c.bulk, func() { idle.Reset(standstill) })
	var own contentError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &own):
		return own.error
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return fromStatus(err)
}

// Save implements linkv1.LinkServer.
func (s *Server) Save(stream grpc.ClientStreamingServer[linkv1.SaveRequest, linkv1.SaveResponse]) error {
	err := s.transfer(stream.Context(), func(ctx context.Context, att Attachment) error {
		r := &received{ctx: ctx, recv: stream.Recv}
		first, err := r.next()
		if err != nil {
			return api.Invalid("header", "none came: %w", err)
		}
		header, err := headerFrom(first)
		if err != nil {
			return err
		}
		r.left = header.Manifest + header.Pack
		return att.SaveCheckpoint(ctx, header, r)
	})
	if err != nil {
		return callStatus(err)
	}
	return stream.SendAndClose(&linkv1.SaveResponse{})
}

// transfer runs one transfer for as long as the caller's link lives.
func (s *Server) transfer(ctx context.Context, f func(context.Context, Attachment) error) error {
	l, err := s.linkOf(ctx)
	if err != nil {
		return err
	}
	select {
	case l.transfers <- struct{}{}:
		defer func() { <-l.transfers }()
	default:
		return api.Errorf(api.CodeLimit, "%d checkpoints travel on this link, the limit", cap(l.transfers))
	}
	// Not waited for beyond the link: what f reads and writes ends with the stream, after this returns.
	_, err = whileLinked(ctx, l.over, func(ctx context.Context) (struct{}, error) { return struct{}{}, f(ctx, l.att) })
	return err
}

// whileLinked runs a call that ends with its link.
func whileLinked[T any](ctx, over context.Context, f func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(over, func() { cancel(errLinkOver) })()
	return run.Bounded(ctx, func() (T, error) { return f(ctx) }, nil)
}

// received reads the bytes that a stream brings.
type received struct {
	ctx  context.Context
	recv func() (*linkv1.SaveRequest, error)
	left int64 // to come
	rest []byte
	err  error // what all further reads return
}

// Read implements io.Reader. It ends with io.EOF after the announced bytes; fewer or more are errors.
func (r *received) Read(b []byte) (int, error) {
	for len(r.rest) == 0 && r.err == nil {
		m, err := r.next()
		switch {
		case errors.Is(err, io.EOF) && r.left > 0:
			r.err = api.Invalid("data", "it ends %d bytes before the size that the header names", r.left)
		case err != nil:
			r.err = err
		case m.GetHeader() != nil:
			r.err = api.Invalid("header", "a second one came")
		case len(m.GetData()) == 0 || len(m.GetData()) > maxChunk:
			r.err = api.Invalid("data", "%d bytes in one message: 1 to %d are allowed", len(m.GetData()), maxChunk)
		case int64(len(m.GetData())) > r.left:
			r.err = api.Invalid("data", "it is longer than the size that the header names")
		default:
			r.rest = m.GetData()
			r.left -= int64(len(r.rest))
		}
	}
	if len(r.rest) == 0 {
		return 0, r.err
	}
	n := copy(b, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// next waits for a message no longer than a transfer may stand still.
func (r *received) next() (*linkv1.SaveRequest, error) {
	ctx, cancel := context.WithTimeoutCause(r.ctx, standstill, api.Errorf(api.CodeUnavailable, "nothing came for %v", standstill))
	defer cancel()
	return run.Bounded(ctx, r.recv, nil)
}
