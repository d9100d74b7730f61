package archive

import (
	"context"
	"database/sql"
	"time"

	"github.com/nave-dev/nave/api"
)

// maxPrune bounds the rows of one call: appends wait for it.
const maxPrune = 10_000

// Prune implements [hub.Pruner]. The row of a signal that was consumed goes with its key. A dead letter stays, without its key, until the signal that repeats it is forgotten: then it goes with it, so
// that there is no moment in which it could be replayed a second time.
//
// Signals that the store still holds must not be forgotten: the caller begins only when it has loaded every shard, and
// before is far older than any settled signal can be in the store.
func (a *Archive) Prune(ctx context.Context, before time.Time, limit int) (int, error) {
	const op = "prune settled signals"
	if limit < 1 || limit > maxPrune {
		e := api.Invalid("limit", "%d: want 1 to %d", limit, maxPrune)
		e.Op = op
		return 0, e
	}
	ctx, cancel := a.bound(ctx)
	defer cancel()
	n := 0
	err := a.transact(ctx, op, func(t *tx) error {
		type row struct{ signal, outcome, replayOf string }
		var old []row
		rows, err := t.stmt(a.st.due).QueryContext(t.ctx, nanos(before), limit)
		if err != nil {
			return err
		}
		err = eachRow(rows, func(rows *sql.Rows) error {
			var r row
			err := rows.Scan(&r.signal, &r.outcome, &r.replayOf)
			old = append(old, r)
			return err
		})
		if err != nil {
			return err
		}
		for _, r := range old {
			if r.replayOf != "" {
				if _, err := t.stmt(a.st.dropReplayed).ExecContext(t.ctx, r.replayOf); err != nil {
					return err
				}
			}
			forget := a.st.drop
			if r.outcome == "dead" {
				forget = a.st.bare
			}
			if _, err := t.stmt(forget).ExecContext(t.ctx, r.signal); err != nil {
				return err
			}
		}
		n = len(old)
		return nil
	})
	return n, err
}
