package door_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke/door"
	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

// every makes each call once, with a message that names the workload, and returns how they end.
func every(ctx context.Context, c harnessv1.HarnessClient, workload string) map[string]error {
	out := make(map[string]error)
	_, out["Describe"] = c.Describe(ctx, &harnessv1.DescribeRequest{Workload: workload})
	_, out["Signal"] = c.Signal(ctx, &harnessv1.SignalRequest{Workload: workload, Agent: "a", Key: "k"})
	if s, err := c.Attach(ctx); err != nil {
		out["Attach"] = err
	} else {
		_ = s.Send(&harnessv1.FromHarness{Message: &harnessv1.FromHarness_Hello{Hello: &harnessv1.Hello{Workload: workload, ProtocolMin: 1, ProtocolMax: 1, First: 1}}})
		_, out["Attach"] = s.Recv()
	}
	if s, err := c.Save(ctx); err != nil {
		out["Save"] = err
	} else {
		_ = s.Send(&harnessv1.SaveRequest{Header: &harnessv1.CheckpointHeader{Workload: workload}})
		_, out["Save"] = s.CloseAndRecv()
	}
	if s, err := c.Fetch(ctx, &harnessv1.FetchRequest{Workload: workload}); err != nil {
		out["Fetch"] = err
	} else {
		_, out["Fetch"] = s.Recv()
	}
	return out
}

// Whoever cannot prove whose harness it is gets nothing, by any call, and a harness beside it is served all the while.
func TestStrangersAreRefused(t *testing.T) {
	a := openAfar(t, nil)
	honest := attach(t, a.client(), hello())
	honest.welcome()
	number := uint64(0)
	stranger, err := door.OpenAuthority(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	good := func() *tls.Config { return a.config() }
	for _, tt := range []struct {
		name            string
		config          func() *tls.Config // nil: no TLS
		token, workload string             // headers
		names           string             // in messages
		want            codes.Code
		says            string
	}{
		{"no token", good, "", id.String(), id.String(), codes.Unauthenticated, "authorization"},
		{"no workload", good, "Bearer " + token, "", id.String(), codes.Unauthenticated, "nave-workload"},
		{"another scheme", good, "Basic " + token, id.String(), id.String(), codes.Unauthenticated, "Bearer"},
		{"two tokens in one", good, "Bearer " + token + " " + token, id.String(), id.String(), codes.Unauthenticated, "Bearer"},
		{"a workload that is none", good, "Bearer " + token, "x", "x", codes.Unauthenticated, "nave-workload"},
		{"a token that nobody made", good, "Bearer x.y.z", id.String(), id.String(), codes.PermissionDenied, "does not speak for workload " + id.String()},
		{"another's token", good, "Bearer " + otherToken, id.String(), id.String(), codes.PermissionDenied, "does not speak for workload " + id.String()},
		{"another's name in the message", good, "Bearer " + otherToken, otherID.String(), id.String(), codes.PermissionDenied, "harness of workload " + otherID.String()},
		{"an expired token", good, "Bearer " + oldToken, id.String(), id.String(), codes.Unauthenticated, "not valid now"},
		{"a client certificate instead", func() *tls.Config {
			leaf, err := stranger.Certificate()
			if err != nil {
				t.Fatal(err)
			}
			c := a.config()
			c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return leaf, nil }
			return c
		}, "", id.String(), id.String(), codes.Unauthenticated, "authorization"},
		{"it believes another authority", func() *tls.Config {
			c := a.config()
			c.RootCAs.AppendCertsFromPEM(nil)
			c.RootCAs = (&afar{ca: stranger}).config().RootCAs
			return c
		}, "Bearer " + token, id.String(), id.String(), codes.Unavailable, "certificate"},
		{"TLS 1.2", func() *tls.Config {
			c := a.config()
			c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
			return c
		}, "Bearer " + token, id.String(), id.String(), codes.Unavailable, "protocol version"},
		{"no TLS", nil, "Bearer " + token, id.String(), id.String(), codes.Unavailable, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			creds := insecure.NewCredentials()
			if tt.config != nil {
				creds = credentials.NewTLS(tt.config())
			}
			for call, err := range every(ctx, a.dial(creds, tt.token, tt.workload), tt.names) {
				if status.Code(err) != tt.want || !strings.Contains(err.Error(), tt.says) {
					t.Errorf("%s: %v, want %s that says %q", call, err, tt.want, tt.says)
				}
				for _, secret := range []string{token, otherToken, oldToken, "is of pod"} {
					if err != nil && strings.Contains(err.Error(), secret) {
						t.Errorf("%s: the answer repeats what it should not: %v", call, err)
					}
				}
			}
			number++
			honest.events(number)
			if n := honest.ack(); n != number {
				t.Errorf("the harness beside it: acknowledged up to %d, want %d", n, number)
			}
		})
	}
	a.h.mu.Lock()
	defer a.h.mu.Unlock()
	if len(a.h.calls) != 1+int(number) { // its own
		t.Errorf("the handler was called: %v", a.h.calls)
	}
}

// A caller without a token costs nothing: nobody is asked about it, and after some calls its connection ends.
func TestCallsWithoutATokenAreCheap(t *testing.T) {
	a := openAfar(t, nil)
	var dials atomic.Int32
	c := a.dial(credentials.NewTLS(a.config()), "", id.String(), counted(&dials, nil))
	for range 50 {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		if _, err := c.Describe(ctx, &harnessv1.DescribeRequest{Workload: strings.Repeat("w", 100<<10)}, grpc.WaitForReady(true)); status.Code(err) != codes.Unauthenticated && status.Code(err) != codes.Unavailable {
			t.Errorf("%v", err)
		}
		cancel()
	}
	if n := a.calls(); n != 0 {
		t.Errorf("tokens were verified %d times", n)
	}
	if n := dials.Load(); n < 3 {
		t.Errorf("50 refused calls took %d connections: each is to bear some refusals alone", n)
	}
}

// counted counts the connections of a client, and the bytes that it sends.
func counted(dials *atomic.Int32, sent *atomic.Int64) grpc.DialOption {
	return grpc.WithContextDialer(func(ctx context.Context, at string) (net.Conn, error) {
		dials.Add(1)
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", at)
		if err != nil || sent == nil {
			return conn, err
		}
		return countedConn{conn, sent}, nil
	})
}

type countedConn struct {
	net.Conn
	sent *atomic.Int64
}

func (c countedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.sent.Add(int64(n))
	return n, err
}

// While a token is checked, no more of a call comes than the window lets through, however large its message is.
func TestNothingIsTakenBeforeTheTokenIsVerified(t *testing.T) {
	hold := make(chan struct{})
	a := openAfar(t, nil)
	a.verify = func(ctx context.Context) error {
		select {
		case <-hold:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	const window, more = 128 << 10, 32 << 10 // frames and headers
	var dials atomic.Int32
	var sent atomic.Int64
	c := a.client(counted(&dials, &sent))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	ended := make(chan error, 1)
	large := &harnessv1.DescribeRequest{Workload: strings.Repeat("w", 3<<20)} // a call with one request
	beside(t, func() { _, err := c.Describe(ctx, large); ended <- err })
	eventually(t, "the window is full", func() bool { return sent.Load() >= window })
	eventually(t, "the token is being checked", func() bool { return a.calls() == 1 })
	if n := sent.Load(); n > window+more {
		t.Errorf("%d bytes were sent before the token was verified", n)
	}
	close(hold)
	if err := <-ended; status.Code(err) != codes.InvalidArgument || sent.Load() < 3<<20 {
		t.Errorf("once it was verified: %v, after %d bytes", err, sent.Load())
	}
}

// A check that takes too long, or for which something is away, is no refusal for good.
func TestTokensThatCannotBeChecked(t *testing.T) {
	a := openAfar(t, nil)
	a.verify = func(context.Context) error { return api.Errorf(api.CodeUnavailable, "no keys from 10.0.0.1") }
	_, err := a.client().Describe(t.Context(), &harnessv1.DescribeRequest{Workload: id.String()})
	if status.Code(err) != codes.Unavailable || strings.Contains(err.Error(), "10.0.0.1") || !strings.Contains(a.log.String(), "10.0.0.1") {
		t.Errorf("%v; the log is to say why", err)
	}
}

// silent opens connections that say nothing, from an address each of which is on this machine.
func silent(t *testing.T, at string, n int, from func(i int) string) []net.Conn {
	t.Helper()
	var conns []net.Conn
	t.Cleanup(func() {
		for _, c := range conns {
			c.Close()
		}
	})
	for i := range n {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from(i))}, Timeout: 20 * time.Second}
		c, err := d.Dial("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	return conns
}

// stillOpen counts the connections that the other side has not ended.
func stillOpen(conns []net.Conn) (n int) {
	for _, c := range conns {
		_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
		_, err := io.Copy(io.Discard, c) // what the door said so far
		if ne, ok := err.(net.Error); ok && ne.Timeout() {
			n++
		}
	}
	return n
}

// A thousand connections that say nothing hold up nobody, and what they hold is bounded.
func TestSilentConnections(t *testing.T) {
	a := openAfar(t, nil)
	honest := attach(t, a.client(), hello())
	honest.welcome()
	before, began := runtime.NumGoroutine(), time.Now()
	one := silent(t, a.at, 1000, func(int) string { return "127.0.0.77" })
	eventually(t, "one address holds 64 connections at most", func() bool { return stillOpen(one) <= 64 })
	if d := time.Since(began); d > 9*time.Second {
		t.Errorf("they were ended after %v, because their time was over", d)
	}
	runtime.GC()
	var empty, full runtime.MemStats
	runtime.ReadMemStats(&empty)
	many := silent(t, a.at, 1000, func(i int) string { return fmt.Sprintf("127.0.%d.2", 1+i/40) })
	for i, c := range many { // half of them come as far as one can without a token
		if i%2 == 0 {
			_ = c.SetDeadline(time.Now().Add(20 * time.Second))
			_, _ = tls.Client(c, a.config()).Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"))
		}
	}
	began = time.Now()
	eventually(t, "strangers hold 512 connections at most", func() bool { return stillOpen(one)+stillOpen(many) <= 512 })
	if d := time.Since(began); d > 9*time.Second {
		t.Errorf("they were ended after %v, because their time was over", d)
	}
	eventually(t, "what the others held is given back", func() bool { return runtime.NumGoroutine() <= before+3*512 })
	runtime.GC()
	runtime.ReadMemStats(&full)
	grown := int64(full.HeapInuse+full.StackInuse) - int64(empty.HeapInuse+empty.StackInuse)
	t.Logf("%d connections of strangers, with their clients in this process, take %d KiB", stillOpen(many), grown>>10)
	if grown > 96<<20 {
		t.Errorf("connections of strangers take %d bytes", grown)
	}
	honest.events(1)
	if honest.ack() != 1 {
		t.Error("the harness beside them is not served any more")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := a.client().Describe(ctx, &harnessv1.DescribeRequest{Workload: id.String()}, grpc.WaitForReady(true)); err != nil {
		t.Errorf("a harness that comes now: %v", err)
	}
	eventually(t, "the log says so", func() bool { return strings.Contains(a.log.String(), "connections that proved nothing were ended") })
}

// frame is one of HTTP/2.
func frame(typ, flags byte, stream uint32, payload []byte) []byte {
	b := make([]byte, 9, 9+len(payload))
	b[0], b[1], b[2], b[3], b[4] = byte(len(payload)>>16), byte(len(payload)>>8), byte(len(payload)), typ, flags
	binary.BigEndian.PutUint32(b[5:], stream)
	return append(b, payload...)
}

// literal is a header field of HPACK that is not indexed.
func literal(name, value string) []byte {
	number := func(n int) []byte {
		if n < 127 {
			return []byte{byte(n)}
		}
		b := []byte{127}
		for n -= 127; n >= 128; n >>= 7 {
			b = append(b, byte(n)|128)
		}
		return append(b, byte(n))
	}
	return bytes.Join([][]byte{{0}, number(len(name)), []byte(name), number(len(value)), []byte(value)}, nil)
}

// A header of many megabytes, in a call without an end, is refused and not kept.
func TestHugeHeader(t *testing.T) {
	a := openAfar(t, nil)
	honest := attach(t, a.client(), hello())
	honest.welcome()
	conn, err := tls.Dial("tcp", a.at, a.config())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	head := append([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), frame(4, 0, 0, nil)...)
	fields := bytes.Join([][]byte{literal(":method", "POST"), literal(":scheme", "https"), literal(":path", "/nave.harness.v1.Harness/Describe"), literal("content-type", "application/grpc")}, nil)
	_, err = conn.Write(append(head, frame(1, 0, 1, fields)...)) // more headers follow
	sent := 0
	for err == nil && sent < 64<<20 {
		_, err = conn.Write(frame(9, 0, 1, literal("authorization", strings.Repeat("x", 15<<10))))
		sent += 15 << 10
	}
	if sent >= 64<<20 {
		t.Errorf("%d bytes of headers were taken", sent)
	}
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapInuse) - int64(before.HeapInuse); grown > 16<<20 {
		t.Errorf("after %d bytes of headers the memory has grown by %d", sent, grown)
	}
	_, _ = io.Copy(io.Discard, conn) // ends, as the other side has
	honest.events(1)
	if honest.ack() != 1 {
		t.Error("the harness beside it is not served any more")
	}
	if n := a.calls(); n != 1 {
		t.Errorf("tokens were verified %d times", n)
	}
}
