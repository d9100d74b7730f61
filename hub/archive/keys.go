package archive

import (
	"context"
	"database/sql"
	"strings"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
)

// keyWidths are the numbers of keys that one statement asks for, each prepared. A question of another size is asked by the
// next wider one, the last key several times.
var keyWidths = [...]int{1, 4, 16, 64}

// keysQuery looks n keys up. The join's order is fixed: one probe of the index settled_key for each.
func keysQuery(n int) string {
	return "WITH k (agent, session_key, idempotency_key) AS (VALUES (?, ?, ?)" + strings.Repeat(", (?, ?, ?)", n-1) + ") SELECT s." + strings.ReplaceAll(settledColumns, ", ", ", s.") +
		" FROM k CROSS JOIN settled s WHERE s.org = ? AND s.agent = k.agent AND s.session_key = k.session_key AND s.idempotency_key = k.idempotency_key AND s.idempotency_key <> ''"
}

// Keys implements [hub.Archive].
func (a *Archive) Keys(ctx context.Context, org api.OrgID, keys []hub.KeyScope) (map[hub.KeyScope]hub.SettledSignal, error) {
	ctx, cancel := a.bound(ctx)
	defer cancel()
	out := make(map[hub.KeyScope]hub.SettledSignal)
	for len(keys) > 0 {
		w := 0
		for w < len(keyWidths)-1 && keyWidths[w] < len(keys) {
			w++
		}
		n := min(len(keys), keyWidths[w])
		if err := a.someKeys(ctx, w, org, keys[:n], out); err != nil {
			return nil, failure("look up keys", err)
		}
		keys = keys[n:]
	}
	return out, nil
}

func (a *Archive) someKeys(ctx context.Context, width int, org api.OrgID, keys []hub.KeyScope, out map[hub.KeyScope]hub.SettledSignal) error {
	args := make([]any, 0, 3*keyWidths[width]+1)
	for i := range keyWidths[width] {
		k := &keys[min(i, len(keys)-1)]
		args = append(args, string(k.Agent), k.SessionKey, k.Key) // no row has an empty key
	}
	return each(a.d.context(ctx), a.st.keys[width], append(args, string(org)), func(rows *sql.Rows) error {
		var r settledRow
		if err := r.scan(rows); err != nil {
			return err
		}
		s := r.settled()
		out[s.Scope] = s
		return nil
	})
}
