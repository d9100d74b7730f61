package archive

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
)

// withoutPayload are the columns of settled with a short one in the place of the payload, which is not read.
var withoutPayload = strings.Replace(settledColumns, ", payload, ", ", payload_ref, ", 1)

// deadColumns are columns of a row s of settled, and the signal that repeats it.
func deadColumns(columns string) string {
	return "s." + strings.ReplaceAll(columns, ", ", ", s.") + ", COALESCE((SELECT MIN(r.signal) FROM settled r WHERE r.replay_of = s.signal AND r.replay_of <> ''), '')"
}

// DeadLetters implements [hub.Reader]. The position names the last one returned, so that what dies meanwhile moves nothing.
func (a *Archive) DeadLetters(ctx context.Context, org api.OrgID, f hub.DeadFilter, after string, limit int) ([]hub.SettledSignal, string, error) {
	const op = "list dead letters"
	if limit <= 0 {
		return nil, after, nil
	}
	q := "SELECT " + deadColumns(withoutPayload) + " FROM settled s WHERE s.org = ? AND s.outcome = 'dead'"
	args := []any{string(org)}
	if f.Agent != "" {
		q, args = q+" AND s.agent = ?", append(args, string(f.Agent))
	}
	if f.Session != "" {
		q, args = q+" AND s.session = ?", append(args, string(f.Session))
	}
	if after != "" {
		at, signal, err := parsePosition(after)
		if err != nil {
			return nil, "", err
		}
		q, args = q+" AND (s.settled_at, s.signal) < (?, ?)", append(args, at, signal)
	}
	q, args = q+" ORDER BY s.settled_at DESC, s.signal DESC LIMIT ?", append(args, limit+1)
	ctx, cancel := a.bound(ctx)
	defer cancel()
	rows, err := a.read.QueryContext(ctx, a.d.query(q), args...)
	if err != nil {
		return nil, "", failure(op, err)
	}
	var (
		out  []hub.SettledSignal
		next string
		last settledRow
	)
	err = eachRow(rows, func(rows *sql.Rows) error {
		if len(out) == limit { // one more than asked for: there is a next page
			next = position(&last)
			return nil
		}
		var (
			r        settledRow
			replayed string
		)
		if err := r.scan(rows, &replayed); err != nil {
			return err
		}
		r.payload, last = nil, r
		out = append(out, r.dead(replayed))
		return nil
	})
	if err != nil {
		return nil, "", failure(op, err)
	}
	return out, next, nil
}

// position of a dead letter in the list.
func position(r *settledRow) string { return strconv.FormatInt(r.settledAt, 10) + "/" + r.signal }

func parsePosition(s string) (at int64, signal string, err error) {
	text, signal, ok := strings.Cut(s, "/")
	at, err = strconv.ParseInt(text, 10, 64)
	if err != nil || !ok || !utf8.ValidString(signal) || strings.ContainsRune(signal, 0) { // a database may refuse what is no text
		return 0, "", api.Invalid("page_token", "%.40q is not a position in the list of dead letters: take one that an answer gave", s)
	}
	return at, signal, nil
}

// DeadLetter implements [hub.Reader].
func (a *Archive) DeadLetter(ctx context.Context, org api.OrgID, id api.SignalID) (hub.SettledSignal, error) {
	const op = "read dead letter"
	ctx, cancel := a.bound(ctx)
	defer cancel()
	var (
		r        settledRow
		replayed string
	)
	err := r.scan(a.st.dead.QueryRowContext(ctx, string(id), string(org)), &replayed)
	if errors.Is(err, sql.ErrNoRows) {
		return hub.SettledSignal{}, refuse(op, api.CodeNotFound, "signal %s is not a dead letter", id)
	}
	if err != nil {
		return hub.SettledSignal{}, failure(op, err)
	}
	return r.dead(replayed), nil
}

func (r *settledRow) dead(replayed string) hub.SettledSignal {
	s := r.settled()
	s.ReplayedAs = api.SignalID(replayed)
	return s
}

// Terminated implements [hub.Reader].
func (a *Archive) Terminated(ctx context.Context, org api.OrgID, id api.SessionID) (api.Session, error) {
	const op = "read terminated session"
	ctx, cancel := a.bound(ctx)
	defer cancel()
	var (
		body []byte
		s    api.Session
	)
	err := a.st.terminated.QueryRowContext(ctx, string(id), string(org)).Scan(&body)
	if errors.Is(err, sql.ErrNoRows) {
		return api.Session{}, refuse(op, api.CodeNotFound, "there is no session %s that ended", id)
	}
	if err == nil {
		if bad := json.Unmarshal(body, &s); bad != nil {
			err = &rowError{"terminated session", bad}
		}
	}
	if err != nil {
		return api.Session{}, failure(op, err)
	}
	return s, nil
}
