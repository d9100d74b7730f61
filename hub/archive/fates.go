package archive

import (
	"context"
	"database/sql"
	"slices"
	"strings"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
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

// LastEpochs implements [hub.Archive]. Each session costs one look into an index, however often it was placed.
func (a *Archive) LastEpochs(ctx context.Context, cluster api.ClusterID, sessions []api.SessionID) (map[api.SessionID]api.Epoch, error) {
	const op = "read last epochs"
	ctx, cancel := a.bound(ctx)
	defer cancel()
	out := make(map[api.SessionID]api.Epoch)
	if cluster == "" {
		return out, nil
	}
	for asked := range slices.Chunk(sessions, settledAtOnce) {
		var args []any
		for _, id := range asked {
			args = append(args, string(id))
		}
		st, err := a.read.PrepareContext(ctx, a.d.query(`WITH k (session) AS (VALUES (?)`+strings.Repeat(", (?)", len(asked)-1)+`)
			SELECT d.session, d.incarnation, d.epoch FROM k CROSS JOIN decisions d WHERE d.id = (SELECT l.id FROM decisions l
				WHERE l.session = k.session AND l.cluster = ? AND l.cluster <> '' ORDER BY l.incarnation DESC, l.epoch DESC LIMIT 1)`))
		if err != nil {
			return nil, failure(op, err)
		}
		err = each(a.d.context(ctx), st, append(args, string(cluster)), func(rows *sql.Rows) error {
			var (
				session string
				e       api.Epoch
			)
			err := rows.Scan(&session, &e.Incarnation, &e.N)
			out[api.SessionID(session)] = e
			return err
		})
		st.Close()
		if err != nil {
			return nil, failure(op, err)
		}
	}
	return out, nil
}

// EndedEpochs implements [hub.Archive]. A session that was not terminated, as most are not, costs one look into an index: the
// join's order is fixed.
func (a *Archive) EndedEpochs(ctx context.Context, cluster api.ClusterID, epochs []hub.SessionEpoch) (map[hub.SessionEpoch]api.OrgID, error) {
	const op = "read ended epochs"
	ctx, cancel := a.bound(ctx)
	defer cancel()
	out := make(map[hub.SessionEpoch]api.OrgID)
	for asked := range slices.Chunk(epochs, settledAtOnce) {
		var args []any
		for _, e := range asked {
			n, err := signed("epoch", e.Epoch.N)
			if _, bad := e.Session.Shard(); bad != nil || err != nil {
				continue // nothing was ever placed there
			}
			args = append(args, string(e.Session), int64(e.Epoch.Incarnation), n)
		}
		if len(args) == 0 {
			continue
		}
		const row = "(?, CAST(? AS BIGINT), CAST(? AS BIGINT))"
		st, err := a.read.PrepareContext(ctx, a.d.query(`WITH k (session, incarnation, epoch) AS (VALUES `+row+strings.Repeat(", "+row, len(args)/3-1)+`)
			SELECT k.session, k.incarnation, k.epoch, t.org FROM k CROSS JOIN terminated t WHERE t.session = k.session AND
			(SELECT d.cluster FROM decisions d WHERE d.session = k.session AND d.incarnation = k.incarnation AND d.epoch = k.epoch AND d.cluster <> ''
				ORDER BY d.id DESC LIMIT 1) = ?`))
		if err != nil {
			return nil, failure(op, err)
		}
		err = each(a.d.context(ctx), st, append(args, string(cluster)), func(rows *sql.Rows) error {
			var (
				session, org string
				incarnation  uint32
				n            uint64
			)
			err := rows.Scan(&session, &incarnation, &n, &org)
			out[hub.SessionEpoch{Session: api.SessionID(session), Epoch: api.Epoch{Incarnation: incarnation, N: n}}] = api.OrgID(org)
			return err
		})
		st.Close()
		if err != nil {
			return nil, failure(op, err)
		}
	}
	return out, nil
}
