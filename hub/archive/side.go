package archive

import (
	"context"
	"database/sql"
	"errors"
	"math"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
)

// Branch implements [hub.Archive].
func (a *Archive) Branch(ctx context.Context, session api.SessionID, source api.Source) (hub.Branch, error) {
	const op = "read branch"
	shard, err := session.Shard()
	if err != nil {
		return hub.Branch{}, refuse(op, api.CodeNotFound, "session %q is no id of a session", session)
	}
	epoch, err := signed("epoch of a source", source.Epoch.N)
	if err != nil {
		return hub.Branch{}, refuse(op, api.CodeNotFound, "session %s was never placed in epoch %v", session, source.Epoch)
	}
	ctx, cancel := a.bound(ctx)
	defer cancel()
	var (
		org, cluster string
		log, side    int64
	)
	err = a.st.branch.QueryRowContext(ctx, int64(shard), string(session), source.String(), string(session), source.String(),
		string(session), int64(source.Epoch.Incarnation), epoch).Scan(&org, &cluster, &log, &side)
	if errors.Is(err, sql.ErrNoRows) {
		return hub.Branch{}, refuse(op, api.CodeNotFound, "no decision placed session %s in epoch %v", session, source.Epoch)
	}
	if err != nil {
		return hub.Branch{}, failure(op, err)
	}
	return hub.Branch{Org: api.OrgID(org), Cluster: api.ClusterID(cluster), Log: uint64(log), Side: uint64(side)}, nil
}

// AppendSide implements [hub.Archive]. What the log has is not repeated in the side branch. CodeConflict when the batch does
// not continue what log and side branch have: the producer must send from there on.
func (a *Archive) AppendSide(ctx context.Context, org api.OrgID, batch api.EventBatch, cluster api.ClusterID, at time.Time) error {
	const op = "append to side branch"
	if len(batch.Events) == 0 {
		return nil
	}
	shard, err := batch.Session.Shard()
	if err != nil {
		return refuse(op, api.CodeInvalid, "session %q is no id of a session", batch.Session)
	}
	ctx, cancel := a.bound(ctx)
	defer cancel()
	return a.transact(ctx, op, func(t *tx) error {
		// The lock of the shard's row puts batches of one session one after the other, so that a reader who saw one misses
		// none that arrived before it.
		var incarnation, n int64
		err := t.stmt(a.st.owner).QueryRowContext(t.ctx, int64(shard)).Scan(&incarnation, &n)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		var log, side int64
		err = t.stmt(a.st.position).QueryRowContext(t.ctx, int64(shard), string(batch.Session), batch.Source.String()).Scan(&log)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if err := t.stmt(a.st.sideNumber).QueryRowContext(t.ctx, string(batch.Session), batch.Source.String()).Scan(&side); err != nil {
			return err
		}
		last := uint64(max(log, side))
		for _, e := range batch.Events {
			if e.SourceNumber <= last {
				continue
			}
			if e.SourceNumber != last+1 {
				return refuse(op, api.CodeConflict, "event %d of source %v of session %s does not continue its side branch, which reaches %d", e.SourceNumber, batch.Source, batch.Session, last)
			}
			e.Session, e.Source, e.Cluster, e.Number = batch.Session, batch.Source, cluster, 0
			row, err := rowOf(org, e.Source.String(), &e)
			if err != nil {
				return err
			}
			if _, err := t.stmt(a.st.putSide).ExecContext(t.ctx, row.sideArgs(a.d, at)...); err != nil {
				return err
			}
			last = e.SourceNumber
		}
		return nil
	})
}

// Side implements [hub.Reader].
func (a *Archive) Side(ctx context.Context, org api.OrgID, session api.SessionID, after uint64, limit int) ([]hub.SideEvent, uint64, error) {
	const op = "read side branches"
	if limit <= 0 || after > math.MaxInt64 {
		return nil, after, nil
	}
	ctx, cancel := a.bound(ctx)
	defer cancel()
	var out []hub.SideEvent
	last := after
	err := each(ctx, a.st.side, []any{string(session), int64(after), string(org), limit}, func(rows *sql.Rows) error {
		var (
			r            eventRow
			id, received int64
		)
		if err := rows.Scan(&id, &r.session, &r.source, &r.sourceNumber, &r.org, &r.typ, &r.time, &r.cluster, &r.text, &r.signals, &r.outcome, &r.attributes, &received); err != nil {
			return err
		}
		e, err := r.event()
		if err != nil {
			return err
		}
		out, last = append(out, hub.SideEvent{Event: e, ReceivedAt: timeOf(received)}), uint64(id)
		return nil
	})
	if err != nil {
		return nil, 0, failure(op, err)
	}
	return out, last, nil
}
