package client

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
)

// Bounds of repetition: together at most about 7 s of waiting.
const (
	maxAttempts = 6
	firstPause  = 100 * time.Millisecond
	maxPause    = 4 * time.Second
)

// NewKey makes a random request id or idempotency key of 128 bits.
func NewKey() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// caller is the interceptor that every call passes.
type caller struct {
	token        string
	organization string
	timeout      time.Duration
	attempts     int
	log          *slog.Logger
}

// WrapUnary implements connect.Interceptor.
func (c *caller) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		if _, ok := ctx.Deadline(); !ok {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, c.timeout)
			defer cancel()
		}
		msg, _ := req.Any().(proto.Message)
		c.fill(msg)
		if c.token != "" {
			req.Header().Set("Authorization", "Bearer "+c.token)
		}
		repeat := repeatable(req.Spec().Procedure, msg)
		var last error
		for attempt := 1; ; attempt++ {
			res, err := next(ctx, req)
			if err = decode(ctx, err); err == nil {
				return res, nil
			}
			if last != nil && ctx.Err() != nil && !errors.Is(err, context.Canceled) {
				return nil, last // says more than that the time was over during this attempt
			}
			last = err
			if !repeat || api.CodeOf(err) != api.CodeUnavailable || attempt == c.attempts {
				return nil, err
			}
			c.log.Debug("repeating call", "call", req.Spec().Procedure, "attempt", attempt, "error", err)
			if !pause(ctx, attempt) {
				return nil, err
			}
		}
	}
}

// WrapStreamingClient implements connect.Interceptor. A stream is not bounded in time and not repeated; see [Client.Follow].
func (c *caller) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return func(ctx context.Context, spec connect.Spec) connect.StreamingClientConn {
		conn := next(ctx, spec)
		if c.token != "" {
			conn.RequestHeader().Set("Authorization", "Bearer "+c.token)
		}
		return &stream{StreamingClientConn: conn, ctx: ctx, caller: c}
	}
}

// WrapStreamingHandler implements connect.Interceptor; a client has no handlers.
func (c *caller) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

type stream struct {
	connect.StreamingClientConn
	ctx    context.Context
	caller *caller
}

func (s *stream) Send(msg any) error {
	if m, ok := msg.(proto.Message); ok {
		s.caller.fill(m)
	}
	return s.StreamingClientConn.Send(msg)
}

func (s *stream) Receive(msg any) error {
	err := s.StreamingClientConn.Receive(msg)
	if isEOF(err) {
		return err
	}
	return decode(s.ctx, err)
}

// pause waits before the next attempt, with full jitter. It reports false when there is no time left for one.
func pause(ctx context.Context, attempt int) bool {
	most := min(firstPause<<(attempt-1), maxPause)
	t := time.NewTimer(most/4 + mathrand.N(most*3/4))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// repeatable reports whether a call can be sent again without doing it twice: reads, rehearsals, writes with a key, writes
// that say what is to be without a condition, and enrollment, which is bound to the key that it presents.
func repeatable(procedure string, msg proto.Message) bool {
	method := procedure[strings.LastIndexByte(procedure, '/')+1:]
	switch method {
	case "Get", "List", "ListRevisions", "Explain", "Info", "Enroll", "ListDeadLetters", "GetDeadLetter", "ListSideEvents", "Status":
		return true
	case "Pause", "Resume", "Terminate", "Replay", "Cancel", "Answer": // they say what is to be
		return true
	}
	if msg == nil {
		return false
	}
	if many, ok := msg.(*navev1.SignalManyRequest); ok {
		return !slices.ContainsFunc(many.GetSignals(), func(s *navev1.SignalRequest) bool { return !repeatable("Signal", s) })
	}
	m := msg.ProtoReflect()
	if flag(m, "dry_run") {
		return true
	}
	switch method {
	case "Signal":
		return text(m, "idempotency_key") != ""
	case "Put", "Register":
		return text(m, "request_id") != "" || method == "Put" && !flag(m, "create_only") && !guarded(m)
	case "Update":
		return !guarded(m)
	}
	return false
}

// guarded reports whether a noun inside the request carries an etag: its repetition would collide with itself.
func guarded(m protoreflect.Message) bool {
	guarded := false
	metas(m, func(meta protoreflect.Message) { guarded = guarded || text(meta, "etag") != "" })
	return guarded
}

// fill sets the organization of a request that names none.
func (c *caller) fill(msg proto.Message) {
	if c.organization == "" || msg == nil {
		return
	}
	m := msg.ProtoReflect()
	set := func(m protoreflect.Message) {
		f := m.Descriptor().Fields().ByName("organization")
		if f != nil && f.Kind() == protoreflect.StringKind && m.Get(f).String() == "" {
			m.Set(f, protoreflect.ValueOfString(c.organization))
		}
	}
	set(m)
	metas(m, set)
	if many, ok := msg.(*navev1.SignalManyRequest); ok {
		for _, s := range many.GetSignals() {
			if s != nil {
				set(s.ProtoReflect())
			}
		}
	}
}

// metas visits the meta of every noun that a request carries.
func metas(m protoreflect.Message, visit func(protoreflect.Message)) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if f.Message() == nil || f.IsList() || f.IsMap() {
			return true
		}
		noun := v.Message()
		if meta := noun.Descriptor().Fields().ByName("meta"); meta != nil && meta.Message() != nil && noun.Has(meta) {
			visit(noun.Mutable(meta).Message())
		}
		return true
	})
}

func text(m protoreflect.Message, name protoreflect.Name) string {
	if f := m.Descriptor().Fields().ByName(name); f != nil && f.Kind() == protoreflect.StringKind {
		return m.Get(f).String()
	}
	return ""
}

func flag(m protoreflect.Message, name protoreflect.Name) bool {
	f := m.Descriptor().Fields().ByName(name)
	return f != nil && f.Kind() == protoreflect.BoolKind && m.Get(f).Bool()
}
