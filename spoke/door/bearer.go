package door

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/spoke"
	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

// maxToken bounds a token, in bytes; verifyWithin the time to check one.
const (
	maxToken     = 8 << 10
	verifyWithin = 10 * time.Second
)

// bearer is who a call says it is, as its headers have it.
type bearer struct {
	id    spoke.WorkloadID
	token string
}

// bearerOf reads the headers of a call. Its errors say nothing of what they hold.
func bearerOf(md metadata.MD) (bearer, error) {
	var b bearer
	tokens, ids := md.Get(harnessv1.HeaderToken), md.Get(harnessv1.HeaderWorkload)
	if len(tokens) != 1 || len(ids) != 1 {
		return b, status.Errorf(codes.Unauthenticated, "want one header %s and one header %s", harnessv1.HeaderToken, harnessv1.HeaderWorkload)
	}
	scheme, token, _ := strings.Cut(tokens[0], " ")
	if !strings.EqualFold(scheme, "Bearer") || !validToken(token) {
		return b, status.Errorf(codes.Unauthenticated, "header %s: want \"Bearer\" and a token of at most %d bytes", harnessv1.HeaderToken, maxToken)
	}
	id, err := spoke.ParseWorkloadID(ids[0])
	if err != nil {
		return b, status.Errorf(codes.Unauthenticated, "header %s: want the id of a workload", harnessv1.HeaderWorkload)
	}
	return bearer{id, token}, nil
}

// validToken tells whether a text is made as tokens are: RFC 6750, section 2.1.
func validToken(s string) bool {
	if s == "" || len(s) > maxToken {
		return false
	}
	for _, c := range []byte(s) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("-._~+/=", c) >= 0:
		default:
			return false
		}
	}
	return true
}

// tap sees a call before anything is made for it: it refuses those that bear no token. It must not wait.
func (d *Door) tap(ctx context.Context, info *tap.Info) (context.Context, error) {
	if _, err := bearerOf(info.Header); err != nil {
		if g := guestOf(ctx); g != nil {
			g.refuse()
		}
		return nil, err
	}
	return ctx, nil
}

// callerKey is under which a context has the workload whose harness calls.
type callerKey struct{}

// authenticate verifies who calls before anything of the call is read.
func (d *Door) authenticate(stream grpc.ServerStream) (grpc.ServerStream, error) {
	ctx := stream.Context()
	id, err := d.bears(ctx)
	if err != nil {
		return nil, err
	}
	return authenticated{stream, context.WithValue(ctx, callerKey{}, id)}, nil
}

// authenticated is a call of a harness that is known.
type authenticated struct {
	grpc.ServerStream
	ctx context.Context
}

// Context implements [grpc.ServerStream].
func (a authenticated) Context() context.Context { return a.ctx }

// bears verifies the token of a call.
func (d *Door) bears(ctx context.Context) (spoke.WorkloadID, error) {
	g := guestOf(ctx)
	md, _ := metadata.FromIncomingContext(ctx)
	b, err := bearerOf(md)
	if err != nil || g == nil {
		return b.id, status.Error(codes.Unauthenticated, "who calls is not known")
	}
	vctx, cancel := context.WithTimeoutCause(ctx, verifyWithin, api.Errorf(api.CodeUnavailable, "the token was not checked within %v", verifyWithin))
	defer cancel()
	_, err = run.Bounded(vctx, func() (struct{}, error) { return struct{}{}, d.c.Remote.Verify(vctx, b.id, b.token) }, nil)
	if err != nil {
		why := strings.ReplaceAll(err.Error(), b.token, "[token]") // whoever made the error: a token is in no log
		d.sayer.say(slog.LevelWarn, "harness refused", "workload", b.id, "address", g.from, "err", why)
		g.refuse()
		return b.id, refusal(b.id, err)
	}
	return b.id, g.prove(b.id)
}

// refusal is what a caller learns of why it was refused: what concerns the token that it has shown, and nothing else.
func refusal(id spoke.WorkloadID, err error) error {
	switch api.CodeOf(err) {
	case api.CodeUnavailable:
		return status.Error(codes.Unavailable, "the spoke cannot check tokens now: repeat later")
	case api.CodeUnauthenticated:
		return status.Error(codes.Unauthenticated, "the token is not genuine, or not valid now")
	}
	return status.Errorf(codes.PermissionDenied, "permission denied: the token does not speak for workload %s", id)
}

// sayer logs what callers cause, now and then: who calls often does not fill the log.
type sayer struct {
	log *slog.Logger

	mu     sync.Mutex
	rate   *rate.Limiter // guarded by mu
	silent int           // what was not said since the last time; guarded by mu
}

func newSayer(log *slog.Logger) *sayer { return &sayer{log: log, rate: rate.NewLimiter(1, 20)} }

func (s *sayer) say(level slog.Level, message string, args ...any) {
	s.mu.Lock()
	if !s.rate.Allow() {
		s.silent++
		s.mu.Unlock()
		return
	}
	silent := s.silent
	s.silent = 0
	s.mu.Unlock()
	s.log.Log(context.Background(), level, message, append(args, "others", silent)...)
}

// guestOf is the connection of a call that came over TLS; nil when it did not.
func guestOf(ctx context.Context) *guest {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil
	}
	info, _ := p.AuthInfo.(remoteInfo)
	return info.guest
}
