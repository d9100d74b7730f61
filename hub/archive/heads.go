package archive

import (
	"database/sql"
	"errors"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
)

// head is how far a log reaches as a transaction goes on.
type head struct {
	shard    api.Shard
	session  api.SessionID
	org      api.OrgID
	was, now uint64
	sources  []*sourceHead
}

type sourceHead struct {
	source   api.Source
	was, now uint64
}

// head returns that of a session's log: from memory, or from the database.
func (t *tx) head(ap *hub.Append, session api.SessionID) (*head, error) {
	if h, ok := t.known[session]; ok && h.shard == ap.Shard {
		return h, nil
	}
	if shard, err := session.Shard(); err != nil || shard != ap.Shard {
		return nil, refuse(t.op, api.CodeInternal, "session %q does not belong to shard %d", session, ap.Shard)
	}
	n, err := t.number(func() (uint64, bool) { return t.a.reach.log(session) }, t.a.st.log, int64(ap.Shard), string(session))
	if err != nil {
		return nil, err
	}
	h := &head{shard: ap.Shard, session: session, org: ap.Org, was: n, now: n}
	t.known[session], t.heads = h, append(t.heads, h)
	return h, nil
}

func (t *tx) source(h *head, source api.Source) (*sourceHead, error) {
	for _, s := range h.sources {
		if s.source == source {
			return s, nil
		}
	}
	n, err := t.number(func() (uint64, bool) { return t.a.reach.source(h.session, source) }, t.a.st.position, int64(h.shard), string(h.session), t.sourceText(source))
	if err != nil {
		return nil, err
	}
	s := &sourceHead{source: source, was: n, now: n}
	h.sources = append(h.sources, s)
	return s, nil
}

// number is what memory guesses, if this transaction may guess, or what the database has; 0 when there is nothing.
func (t *tx) number(guess func() (uint64, bool), ask *sql.Stmt, args ...any) (uint64, error) {
	if t.guess {
		if n, ok := guess(); ok {
			t.guessed = true
			return n, nil
		}
	}
	var n int64
	err := t.stmt(ask).QueryRowContext(t.ctx, args...).Scan(&n)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, err
	}
	return uint64(n), nil
}

// move writes how far logs and sources reach now. It compares where they were: what was guessed is known from here on.
func (t *tx) move() error {
	var newLogs, logs, newSources, sources []any
	for _, h := range t.heads {
		shard, session := int64(h.shard), string(h.session)
		switch {
		case h.now == h.was:
			continue // its sources did not move either
		case h.was == 0:
			newLogs = append(newLogs, shard, session, string(h.org), int64(h.now))
		default:
			logs = append(logs, shard, session, int64(h.was), int64(h.now))
		}
		for _, s := range h.sources {
			switch {
			case s.now == s.was:
			case s.was == 0:
				newSources = append(newSources, shard, session, t.sourceText(s.source), int64(s.now))
			default:
				sources = append(sources, shard, session, t.sourceText(s.source), int64(s.was), int64(s.now))
			}
		}
	}
	for _, m := range []struct {
		by   *wide
		args []any
		each int
	}{{&t.a.st.newLog, newLogs, 4}, {&t.a.st.moveLog, logs, 4}, {&t.a.st.newSource, newSources, 4}, {&t.a.st.moveSource, sources, 5}} {
		for len(m.args) > 0 {
			w := narrower(len(m.args) / m.each)
			n := widths[w] * m.each
			if err := t.moveSome(m.by[w], m.args[:n], widths[w]); err != nil {
				return err
			}
			m.args = m.args[n:]
		}
	}
	return nil
}

func (t *tx) moveSome(by *sql.Stmt, args []any, rows int) error {
	res, err := t.stmt(by).ExecContext(t.ctx, args...)
	if err != nil {
		return err
	}
	n, err := res.RowsAffected()
	if err == nil && n != int64(rows) {
		err = refuse(t.op, api.CodeInternal, "%d of %d logs, of session %s and others, are not where the append began", int64(rows)-n, rows, args[1])
	}
	return err
}
