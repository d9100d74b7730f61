package floor

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strconv"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.uber.org/zap"
	_ "modernc.org/sqlite" // driver "sqlite"
)

func init() {
	programs["state-make"] = stateMake
	programs["state-read"] = stateRead
	programs["state-size"] = stateSize
	programs["file-read"] = fileRead
}

// bareEtcd starts an etcd with nobody but this process.
func bareEtcd(ctx context.Context, dir string) (*embed.Etcd, *clientv3.Client, error) {
	c := embed.NewConfig()
	c.Dir = filepath.Join(dir, "etcd")
	c.Name = "floor"
	peer := url.URL{Scheme: "http", Host: "127.0.0.1:2380"}
	c.ListenPeerUrls, c.ListenClientUrls, c.ListenClientHttpUrls = nil, nil, nil
	c.AdvertisePeerUrls, c.AdvertiseClientUrls = []url.URL{peer}, []url.URL{{Scheme: "http", Host: "127.0.0.1:2379"}}
	c.InitialCluster = c.Name + "=" + peer.String()
	c.TickMs, c.ElectionMs = 10, 100 // the wait before it elects itself is no work
	c.QuotaBackendBytes, c.MaxTxnOps, c.MaxRequestBytes = 8<<30, 10_000, 8<<20
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	e, err := embed.StartEtcd(c)
	if err != nil {
		return nil, nil, err
	}
	select {
	case <-e.Server.ReadyNotify():
		return e, v3client.New(e.Server), nil
	case err := <-e.Err():
		return nil, nil, err
	case <-ctx.Done():
		return nil, nil, context.Cause(ctx)
	}
}

func bareSQL(dir string) (*sql.DB, error) {
	return sql.Open("sqlite", "file:"+filepath.Join(dir, "floor.db")+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=busy_timeout(5000)")
}

// numbers reads arguments.
func numbers(args []string, to ...*int) (err error) {
	if len(args) != len(to) {
		return fmt.Errorf("%d arguments, want %d", len(args), len(to))
	}
	for i := range to {
		if *to[i], err = strconv.Atoi(args[i]); err != nil {
			return err
		}
	}
	return nil
}

// records is how many keys one transaction writes.
const records = 500

// put writes n keys of a length, with values of a length.
func put(ctx context.Context, c *clientv3.Client, n, key, value int) error {
	content := bytes.Repeat([]byte{'v'}, value)
	for at := 0; at < n; {
		var ops []clientv3.Op
		for ; at < n && len(ops) < records; at++ {
			ops = append(ops, clientv3.OpPut(fmt.Sprintf("%0*d", key, at), string(content)))
		}
		if _, err := c.Txn(ctx).Then(ops...).Commit(); err != nil {
			return err
		}
	}
	return nil
}

// stateMake: DIR N KEY VALUE writes N records into etcd, and two rows for each into SQLite, as the hub has them of a dormant
// session; then it waits to be killed.
func stateMake(ctx context.Context, args []string) error {
	var n, key, value int
	if err := numbers(args[1:], &n, &key, &value); err != nil {
		return err
	}
	_, c, err := bareEtcd(ctx, args[0])
	if err != nil {
		return err
	}
	if err := put(ctx, c, n, key, value); err != nil {
		return err
	}
	db, err := bareSQL(args[0])
	if err != nil {
		return err
	}
	for _, q := range []string{"CREATE TABLE logs (shard INTEGER, session TEXT, org TEXT, number INTEGER, PRIMARY KEY (shard, session)) WITHOUT ROWID",
		"CREATE TABLE positions (shard INTEGER, session TEXT, source TEXT, number INTEGER, PRIMARY KEY (shard, session, source)) WITHOUT ROWID"} {
		if _, err := db.ExecContext(ctx, q); err != nil {
			return err
		}
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	for i := range n {
		session := fmt.Sprintf("%026d", i)
		if _, err := tx.ExecContext(ctx, "INSERT INTO logs VALUES (?, ?, 'default', 12)", i%256, session); err != nil {
			return err
		}
		for _, source := range []string{"hub", "1.1/1"} {
			if _, err := tx.ExecContext(ctx, "INSERT INTO positions VALUES (?, ?, ?, 6)", i%256, session, source); err != nil {
				return err
			}
		}
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	fmt.Println("ready")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// stateRead: DIR opens both and reads everything once.
func stateRead(ctx context.Context, args []string) error {
	_, c, err := bareEtcd(ctx, args[0])
	if err != nil {
		return err
	}
	res, err := c.Get(ctx, "", clientv3.WithPrefix())
	if err != nil {
		return err
	}
	db, err := bareSQL(args[0])
	if err != nil {
		return err
	}
	rows := 0
	for _, q := range []string{"SELECT session, number FROM logs", "SELECT session, number FROM positions"} {
		if err := count(ctx, db, q, &rows); err != nil {
			return err
		}
	}
	fmt.Println("ready", len(res.Kvs), rows)
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func count(ctx context.Context, db *sql.DB, q string, n *int) error {
	rows, err := db.QueryContext(ctx, q)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var session string
		var number int64
		if err := rows.Scan(&session, &number); err != nil {
			return err
		}
		*n++
	}
	return rows.Err()
}

// stateSize: DIR N KEY VALUE writes N records, or none, into the etcd of DIR, compacts it, and prints how many bytes its file
// has and how many of them hold something.
func stateSize(ctx context.Context, args []string) error {
	var n, key, value int
	if err := numbers(args[1:], &n, &key, &value); err != nil {
		return err
	}
	e, c, err := bareEtcd(ctx, args[0])
	if err != nil {
		return err
	}
	defer e.Close()
	if err := put(ctx, c, n, key, value); err != nil {
		return err
	}
	res, err := c.Get(ctx, "nothing")
	if err != nil {
		return err
	}
	if _, err := c.Compact(ctx, res.Header.Revision, clientv3.WithCompactPhysical()); err != nil {
		return err
	}
	e.Server.Backend().ForceCommit() // twice: what one frees can be counted after the next
	e.Server.Backend().ForceCommit()
	fmt.Println("ready", e.Server.Backend().Size(), e.Server.Backend().SizeInUse())
	return nil
}

// fileRead: FILE reads a file once.
func fileRead(_ context.Context, args []string) error {
	b, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	fmt.Println("ready", len(b))
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}
