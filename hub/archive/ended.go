package archive

import (
	"context"
	"database/sql"
	"strings"

	"github.com/nave-dev/nave/api"
)

// Ended implements [hub.Archive].
func (a *Archive) Ended(ctx context.Context, cluster api.ClusterID, sessions []api.SessionID) ([]api.SessionID, error) {
	const op = "read ended sessions"
	ctx, cancel := a.bound(ctx)
	defer cancel()
	var out []api.SessionID
	for len(sessions) > 0 {
		n := min(len(sessions), settledAtOnce)
		args := []any{string(cluster)}
		for _, id := range sessions[:n] {
			args = append(args, string(id))
		}
		st, err := a.read.PrepareContext(ctx, a.d.query(`SELECT t.session FROM terminated t
			WHERE EXISTS (SELECT 1 FROM decisions d WHERE d.session = t.session AND d.cluster = ?)
			AND t.session IN (?`+strings.Repeat(", ?", n-1)+`) ORDER BY t.session`))
		if err != nil {
			return nil, failure(op, err)
		}
		err = each(ctx, st, args, func(rows *sql.Rows) error {
			var id string
			err := rows.Scan(&id)
			out = append(out, api.SessionID(id))
			return err
		})
		st.Close()
		if err != nil {
			return nil, failure(op, err)
		}
		sessions = sessions[n:]
	}
	return out, nil
}
