package archive

import (
	"context"
	"database/sql"
	"strings"

	"github.com/nave-dev/nave/api"
)

// settledAtOnce is how many signals one statement asks for.
const settledAtOnce = 500

// Settled implements [hub.Archive].
func (a *Archive) Settled(ctx context.Context, signals []api.SignalID) (map[api.SignalID]bool, error) {
	ctx, cancel := a.bound(ctx)
	defer cancel()
	out := make(map[api.SignalID]bool)
	for len(signals) > 0 {
		n := min(len(signals), settledAtOnce)
		args := make([]any, n)
		for i, id := range signals[:n] {
			args[i] = string(id)
		}
		q := a.d.query("SELECT signal FROM settled WHERE signal IN (?" + strings.Repeat(", ?", n-1) + ")")
		st, err := a.read.PrepareContext(ctx, q)
		if err != nil {
			return nil, failure("read settled signals", err)
		}
		err = each(ctx, st, args, func(rows *sql.Rows) error {
			var id string
			err := rows.Scan(&id)
			out[api.SignalID(id)] = true
			return err
		})
		st.Close()
		if err != nil {
			return nil, failure("read settled signals", err)
		}
		signals = signals[n:]
	}
	return out, nil
}
