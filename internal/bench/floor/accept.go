package floor

import (
	"context"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/nave-dev/nave/internal/run"
)

// AcceptMethod is the one method of the floor of accepting: the request is a list of blocks of one size, each of which becomes
// durable under a key of its own; the answer is a text as long as the ids of a signal.
const AcceptMethod = "/floor.Accept/Put"

// Bounds of a transaction of an embedded server, as large as anybody would have them.
const (
	acceptOps   = 10_000
	acceptBytes = 8 << 20
)

// acceptProgram serves over TLS, by a key that it leaves in --keys, and keeps signals in an etcd in this process, or by
// --endpoints in one of its own. What waits is written in one transaction, which compares and sets the head: as little as an
// owner that can lose its place may do. It prints its address and that of its profiles.
func acceptProgram(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("accept", flag.ContinueOnError)
	dir := f.String("dir", "", "data directory of the embedded etcd")
	endpoints := f.String("endpoints", "", "of an etcd of its own, by commas")
	keys := f.String("keys", "", "folder for the key")
	block := f.Int("block", 600, "bytes of a signal")
	if err := f.Parse(args); err != nil {
		return err
	}
	client, stop, err := acceptStore(ctx, *dir, *endpoints)
	if err != nil {
		return err
	}
	defer stop()
	if err := makeKey(*keys); err != nil {
		return err
	}
	creds, err := Mutual(*keys)
	if err != nil {
		return err
	}
	a := &accept{client: client, block: *block, in: make(chan acceptRequest, 1024)}
	server := grpc.NewServer(grpc.MaxConcurrentStreams(4096), grpc.Creds(creds))
	server.RegisterService(&grpc.ServiceDesc{ServiceName: "floor.Accept", HandlerType: (*any)(nil), Methods: []grpc.MethodDesc{{MethodName: "Put", Handler: a.handle}}}, a)
	g := run.NewGroup(ctx)
	g.Go("committer", a.commit)
	p, err := profiles(g)
	if err == nil {
		err = serve(g, server, p)
	}
	if err != nil {
		g.Stop()
	}
	return errors.Join(err, g.Wait())
}

// acceptStore opens the etcd.
func acceptStore(ctx context.Context, dir, endpoints string) (*clientv3.Client, func(), error) {
	if endpoints != "" {
		c, err := clientv3.New(clientv3.Config{Endpoints: strings.Split(endpoints, ","), DialTimeout: 10 * time.Second, MaxCallSendMsgSize: 64 << 20, Logger: zap.NewNop()})
		if err != nil {
			return nil, nil, err
		}
		return c, func() { _ = c.Close() }, nil
	}
	c := embed.NewConfig()
	peer := url.URL{Scheme: "http", Host: "127.0.0.1:2380"}
	c.Dir, c.Name, c.InitialCluster, c.AdvertisePeerUrls = dir, "floor", "floor="+peer.String(), []url.URL{peer}
	c.ListenPeerUrls, c.ListenClientUrls, c.ListenClientHttpUrls = nil, nil, nil // the only member, in this process alone
	c.MaxTxnOps, c.MaxRequestBytes, c.QuotaBackendBytes, c.SnapshotCount = acceptOps, acceptBytes, 8<<30, 50_000
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	e, err := embed.StartEtcd(c)
	if err != nil {
		return nil, nil, err
	}
	select {
	case <-e.Server.ReadyNotify():
		return v3client.New(e.Server), e.Close, nil
	case err = <-e.Err():
	case <-time.After(30 * time.Second):
		err = errors.New("etcd is not ready within 30 s")
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	e.Close()
	return nil, nil, err
}

// accept is the server and its committer.
type accept struct {
	client *clientv3.Client
	block  int
	in     chan acceptRequest // full: calls wait
}

type acceptRequest struct {
	blocks []byte
	done   chan error // capacity 1
}

func (a *accept) handle(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	var in wrapperspb.BytesValue
	if err := decode(&in); err != nil {
		return nil, err
	}
	if n := len(in.Value); n == 0 || n%a.block != 0 {
		return nil, fmt.Errorf("%d bytes are no list of blocks of %d", n, a.block)
	}
	r := acceptRequest{blocks: in.Value, done: make(chan error, 1)}
	select {
	case a.in <- r:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	select {
	case err := <-r.done:
		return &wrapperspb.StringValue{Value: hex.EncodeToString(in.Value[:32])}, err // as long as ids are
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// commit writes what waits, one transaction after another.
func (a *accept) commit(ctx context.Context) error {
	const headKey = "floor/head"
	head, n := "", 0
	if _, err := a.client.Delete(ctx, headKey); err != nil {
		return err
	}
	for {
		var first acceptRequest
		select {
		case <-ctx.Done():
			return nil
		case first = <-a.in:
		}
		reqs, bytes := []acceptRequest{first}, len(first.blocks)
		for more := true; more && bytes < acceptBytes/4; {
			select {
			case r := <-a.in:
				reqs, bytes = append(reqs, r), bytes+len(r.blocks)
			default:
				more = false
			}
		}
		var ops []clientv3.Op
		for _, r := range reqs {
			for b := r.blocks; len(b) > 0; b = b[a.block:] {
				n++
				ops = append(ops, clientv3.OpPut("floor/signals/"+strconv.Itoa(n), string(b[:a.block])))
			}
		}
		cmp := clientv3.Compare(clientv3.Value(headKey), "=", head)
		if head == "" {
			cmp = clientv3.Compare(clientv3.CreateRevision(headKey), "=", 0)
		}
		next := strconv.Itoa(n)
		res, err := a.client.Txn(ctx).If(cmp).Then(append(ops, clientv3.OpPut(headKey, next))...).Commit()
		if err == nil && !res.Succeeded {
			err = errors.New("the head is another one")
		}
		if err == nil {
			head = next
		}
		for _, r := range reqs {
			r.done <- err
		}
	}
}
