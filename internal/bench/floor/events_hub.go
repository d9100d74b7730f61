package floor

import (
	"context"
	"database/sql"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"

	_ "modernc.org/sqlite" // driver "sqlite"

	"github.com/nave-dev/nave/internal/run"
)

// table is the rows of the floor's hub: as many columns and indexes as an archive has, and as many bytes.
type table struct {
	db  *sql.DB
	put *sql.Stmt
}

func openTable(ctx context.Context, path string) (*table, error) {
	db, err := sql.Open("sqlite", "file:"+path+"?_txlock=immediate&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=wal_autocheckpoint(4000)")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	_, err = db.ExecContext(ctx, `CREATE TABLE events (id INTEGER PRIMARY KEY, session TEXT NOT NULL, number INTEGER NOT NULL, source TEXT NOT NULL,
		source_number INTEGER NOT NULL, org TEXT NOT NULL, type TEXT NOT NULL, time INTEGER NOT NULL, cluster TEXT NOT NULL, text TEXT NOT NULL,
		UNIQUE (session, number), UNIQUE (session, source, source_number))`)
	if err != nil {
		db.Close()
		return nil, err
	}
	put, err := db.PrepareContext(ctx, "INSERT INTO events (session, number, source, source_number, org, type, time, cluster, text) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)")
	return &table{db, put}, err
}

func (t *table) close() { t.db.Close() }

// commit writes what is there in one transaction.
func (t *table) commit(all []pushed) error {
	tx, err := t.db.Begin()
	if err != nil {
		return err
	}
	put := tx.Stmt(t.put)
	now := time.Now().UnixNano()
	for _, p := range all {
		for _, i := range p.items {
			if _, err := put.Exec(p.session, int64(i.Number), "1.1/1", int64(i.Number), "01ARZ3NDEKTSV4RRFFQ69G5FAV", "message", now, "01ARZ3NDEKTSV4RRFFQ69G5FAV", string(i.Text)); err != nil {
				_ = tx.Rollback() // the first error counts
				return err
			}
		}
	}
	return tx.Commit()
}

// pushed is a message of the spoke.
type pushed struct {
	session string
	items   []Item
	raw     []byte
	done    chan<- int // told how many events are durable
}

// shelf is the floor's hub: what waits for the table, and who reads.
type shelf struct {
	table *table
	in    chan pushed // bound 256: when it is full the stream waits

	mu      sync.Mutex
	readers map[string]chan []byte // guarded by mu; each has 4096 messages at most, past that the writer waits
}

func newShelf(t *table) *shelf {
	return &shelf{table: t, in: make(chan pushed, 256), readers: map[string]chan []byte{}}
}

// rowsAtOnce bounds a transaction.
const rowsAtOnce = 4000

func (h *shelf) write(ctx context.Context) error {
	for {
		var all []pushed
		select {
		case <-ctx.Done():
			return nil
		case p := <-h.in:
			all = append(all, p)
		}
		for rows, more := len(all[0].items), true; more && rows < rowsAtOnce; {
			select {
			case p := <-h.in:
				all, rows = append(all, p), rows+len(p.items)
			default:
				more = false
			}
		}
		if err := h.table.commit(all); err != nil {
			return err
		}
		for _, p := range all {
			h.mu.Lock()
			r := h.readers[p.session]
			h.mu.Unlock()
			if r != nil {
				r <- p.raw
			}
			p.done <- len(p.items)
		}
	}
}

// push takes events of the spoke and says how many are durable.
func (h *shelf) push(s grpc.ServerStream) error {
	done := make(chan int, 4096)
	g := run.NewGroup(s.Context())
	defer g.Wait() // its error is the stream's
	defer g.Stop()
	g.Go("answer", func(ctx context.Context) error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case n := <-done:
				for len(done) > 0 {
					n += <-done
				}
				if err := s.SendMsg(wrapperspb.UInt64(uint64(n))); err != nil {
					return err
				}
			}
		}
	})
	for {
		in := new(wrapperspb.BytesValue)
		if err := s.RecvMsg(in); err != nil {
			return err
		}
		session, items, err := Unpack(in.Value)
		if err != nil {
			return err
		}
		h.in <- pushed{session, items, in.Value, done}
	}
}

func (h *shelf) follow(s grpc.ServerStream) error {
	in := new(wrapperspb.BytesValue)
	if err := s.RecvMsg(in); err != nil {
		return err
	}
	c := make(chan []byte, 4096)
	h.mu.Lock()
	h.readers[string(in.Value)] = c
	h.mu.Unlock()
	if err := s.SendMsg(wrapperspb.Bytes(nil)); err != nil { // from here on it hears everything
		return err
	}
	for {
		select {
		case <-s.Context().Done():
			return s.Context().Err()
		case raw := <-c:
			if err := s.SendMsg(wrapperspb.Bytes(raw)); err != nil {
				return err
			}
		}
	}
}
