package store

import (
	"context"
	"errors"
	"hash/maphash"
	"strconv"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
	"github.com/nave-dev/nave/internal/run"
)

// Format is the version of the keys and records that this package writes. A store with a newer one is refused.
const Format = 1

// DefaultPrefix is where the keys begin.
const DefaultPrefix = "/nave/"

// Codec encodes specs of definitions. What it encoded must be decodable by every later version.
type Codec interface {
	EncodeSpec(api.Spec) ([]byte, error)
	DecodeSpec(api.Kind, []byte) (api.Spec, error)
}

// Config configures a [Store].
type Config struct {
	Client  *clientv3.Client // required; the owner closes it after the store's last use
	Codec   Codec            // required
	Prefix  string           // of all keys; begins and ends with "/"; default DefaultPrefix
	Timeout time.Duration    // bound of each call to etcd, on top of the caller's context; default 5 s, at most 1 min

	// What the server takes in one transaction: its --max-txn-ops and --max-request-bytes.
	MaxOps   int // default 128, as etcd's; at least that
	MaxBytes int // default 1.5 MiB, as etcd's; at least that
}

// Limits of a transaction as etcd has them by default.
const (
	defaultMaxOps   = 128
	defaultMaxBytes = 3 << 19
)

func (c *Config) validate() error {
	if c.Client == nil {
		return errors.New("config of the store: client is missing")
	}
	if c.Codec == nil {
		return errors.New("config of the store: codec is missing")
	}
	if c.Prefix == "" {
		c.Prefix = DefaultPrefix
	}
	if !strings.HasPrefix(c.Prefix, "/") || !strings.HasSuffix(c.Prefix, "/") {
		return api.Invalid("prefix", "%q: must begin and end with a slash", c.Prefix)
	}
	if c.Timeout == 0 {
		c.Timeout = 5 * time.Second
	}
	if c.Timeout < 0 || c.Timeout > time.Minute {
		return api.Invalid("timeout", "%v: want up to 1m", c.Timeout)
	}
	if c.MaxOps == 0 {
		c.MaxOps = defaultMaxOps
	}
	if c.MaxOps < defaultMaxOps {
		return api.Invalid("max_ops", "%d: want %d or more, and etcd's --max-txn-ops to be the same", c.MaxOps, defaultMaxOps)
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = defaultMaxBytes
	}
	if c.MaxBytes < defaultMaxBytes {
		return api.Invalid("max_bytes", "%d: want %d or more, and etcd's --max-request-bytes to be the same", c.MaxBytes, defaultMaxBytes)
	}
	return nil
}

// Store is safe for concurrent use.
type Store struct {
	client  *clientv3.Client
	codec   Codec
	keys    keys
	timeout time.Duration
	maxOps  int
	max     int               // bytes of a transaction
	updates [16]chan struct{} // one slot each: updates of one organization queue here instead of in conflicts
	seed    maphash.Seed
	leases  leaseCache
	claims  *run.Together[*claim]
}

var (
	_ hub.Definitions = (*Store)(nil)
	_ hub.ShardStore  = (*Store)(nil)
	_ hub.Clusters    = (*Store)(nil)
	_ hub.Departures  = (*Store)(nil)
	_ hub.Leases      = (*Store)(nil)
	_ hub.Credentials = (*Store)(nil)
)

// Open checks the format of the store, or writes it when the store is empty, and returns the store. CodeUnsupported when
// a newer version of Nave wrote it.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	s := &Store{client: cfg.Client, codec: cfg.Codec, keys: keys{cfg.Prefix}, timeout: cfg.Timeout, maxOps: cfg.MaxOps, max: cfg.MaxBytes, seed: maphash.MakeSeed()}
	s.claims = run.NewTogether(s.claimAll)
	for i := range s.updates {
		s.updates[i] = make(chan struct{}, 1)
	}
	if err := s.checkFormat(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Store) checkFormat(ctx context.Context) error {
	const op = "open store"
	format := s.keys.format()
	resp, err := s.txn(ctx, op,
		[]clientv3.Cmp{absent(format)},
		[]clientv3.Op{clientv3.OpPut(format, strconv.Itoa(Format)), clientv3.OpPut(s.keys.incarnation(), "1")},
		[]clientv3.Op{clientv3.OpGet(format)})
	if err != nil || resp.Succeeded {
		return err
	}
	text := ""
	if kvs := resp.Responses[0].GetResponseRange().Kvs; len(kvs) == 1 {
		text = string(kvs[0].Value)
	}
	v, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return &api.Error{Code: api.CodeInternal, Op: op, Err: errors.New("the format of the store is not a number: was something else written below the prefix?")}
	}
	if v > Format {
		e := api.Errorf(api.CodeUnsupported, "the store has format %d and this program knows up to %d: run a newer nave-hub", v, Format)
		e.Op = op
		return e
	}
	return nil
}

// bound gives a call to etcd its deadline. A server in this process may answer a call whose context has ended; get and txn
// look before, so that such a call has no outcome.
func (s *Store) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, s.timeout)
}

// get reads with a deadline; without options it is linearizable.
func (s *Store) get(ctx context.Context, op, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	if err := ctx.Err(); err != nil {
		return nil, failure(op, err)
	}
	resp, err := s.client.Get(ctx, key, opts...)
	if err != nil {
		return nil, failure(op, err)
	}
	return resp, nil
}

// txn runs one transaction with a deadline.
func (s *Store) txn(ctx context.Context, op string, cmps []clientv3.Cmp, then, otherwise []clientv3.Op) (*clientv3.TxnResponse, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	if err := ctx.Err(); err != nil {
		return nil, failure(op, err)
	}
	resp, err := s.client.Txn(ctx).If(cmps...).Then(then...).Else(otherwise...).Commit()
	if err != nil {
		return nil, failure(op, err)
	}
	return resp, nil
}

// pageSize is how many keys one read of a range returns at most.
const pageSize = 1000

// scan reads a whole range in pages, all at one revision of etcd, and calls each with every key and value.
func (s *Store) scan(ctx context.Context, op, prefix string, each func(key string, value []byte, revision int64) error) error {
	from, end, at := prefix, clientv3.GetPrefixRangeEnd(prefix), int64(0)
	for {
		opts := []clientv3.OpOption{clientv3.WithRange(end), clientv3.WithLimit(pageSize)}
		if at != 0 {
			opts = append(opts, clientv3.WithRev(at))
		}
		resp, err := s.get(ctx, op, from, opts...)
		if err != nil {
			return err
		}
		for _, kv := range resp.Kvs {
			if err := each(string(kv.Key), kv.Value, kv.ModRevision); err != nil {
				return failure(op, err)
			}
		}
		if !resp.More || len(resp.Kvs) == 0 {
			return nil
		}
		if at == 0 {
			at = resp.Header.Revision // later pages are read at the revision of the first
		}
		from = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
	}
}

func absent(key string) clientv3.Cmp  { return clientv3.Compare(clientv3.CreateRevision(key), "=", 0) }
func present(key string) clientv3.Cmp { return clientv3.Compare(clientv3.CreateRevision(key), ">", 0) }
func unchanged(key string, revision int64) clientv3.Cmp {
	return clientv3.Compare(clientv3.ModRevision(key), "=", revision)
}
