package archive

import (
	"database/sql"
	"strconv"
	"strings"
)

// widths are the numbers of rows that one statement takes, each prepared. More rows are several statements.
var widths = [...]int{1, 4, 16, 64}

// wide is one statement in all widths.
type wide [len(widths)]*sql.Stmt

// narrower returns the widest that n rows fill.
func narrower(n int) int {
	w := 0
	for w < len(widths)-1 && widths[w+1] <= n {
		w++
	}
	return w
}

// wider returns the narrowest that has place for n rows, or the widest.
func wider(n int) int {
	w := 0
	for w < len(widths)-1 && widths[w] < n {
		w++
	}
	return w
}

// owners looks n shards up, in their order.
func (d dialect) owners(n int) string {
	return "SELECT shard, incarnation, n FROM shard_owner WHERE shard IN (?" + strings.Repeat(", ?", n-1) + ") ORDER BY shard" + d.lock
}

// kinds of columns. A place is no argument: it is the row's number, from 0 on.
type kind string

const (
	text   kind = "TEXT"
	number kind = "BIGINT"
	octets kind = "BYTEA"
	place  kind = ""
)

// values is a table of n rows of arguments. PostgreSQL wants to know their types; SQLite takes them as they are given. They have no
// names and no numbers: looking those up takes SQLite as many steps as there are arguments, for each of them.
func (d dialect) values(n int, columns ...kind) string {
	var b strings.Builder
	b.WriteString("VALUES ")
	for i := range n {
		for j, k := range columns {
			if j == 0 {
				b.WriteString("(")
			} else {
				b.WriteString(", ")
			}
			switch {
			case k == place:
				b.WriteString(strconv.Itoa(i))
			case d.numbered:
				b.WriteString("CAST(? AS " + string(k) + ")")
			default:
				b.WriteString("?")
			}
		}
		b.WriteString("), ")
	}
	return strings.TrimSuffix(b.String(), ", ")
}

// putEvents inserts n events with the same source, organization, type, cluster and outcome.
func (d dialect) putEvents(n int) string {
	return "INSERT INTO events (" + eventColumns + ") SELECT r.column1, r.column2, c.column1, r.column3, c.column2, c.column3, r.column4, c.column4, r.column5, r.column6, c.column5, r.column7 FROM (" +
		d.values(1, text, text, text, text, text) + ") c CROSS JOIN (" + d.values(n, text, number, number, number, octets, text, text) + ") r"
}

// shared are the arguments that putEvents has once.
func (r *eventRow) shared(args []any) []any {
	return append(args, r.source, r.org, r.typ, r.cluster, r.outcome)
}

func (r *eventRow) own(d dialect, args []any) []any {
	return append(args, r.session, r.number, r.sourceNumber, r.time, d.text(r.text), r.signals, r.attributes)
}

// alike reports that both rows fit one statement of putEvents.
func (r *eventRow) alike(o *eventRow) bool {
	return r.source == o.source && r.org == o.org && r.typ == o.typ && r.cluster == o.cluster && r.outcome == o.outcome
}

// putRun inserts n events of one source that follow each other in their log, and have nothing but a text.
func (d dialect) putRun(n int) string {
	return "INSERT INTO events (" + eventColumns + ") SELECT c.column1, c.column2 + r.column1, c.column3, c.column4 + r.column1, c.column5, c.column6, r.column2, c.column7, r.column3, '', '', '' FROM (" +
		d.values(1, text, number, text, number, text, text, text) + ") c CROSS JOIN (" + d.values(n, place, number, octets) + ") r"
}

// run are the arguments that putRun has once, of the first row.
func (r *eventRow) run(args []any) []any {
	return append(args, r.session, r.number, r.source, r.sourceNumber, r.org, r.typ, r.cluster)
}

func (r *eventRow) line(d dialect, args []any) []any { return append(args, r.time, d.text(r.text)) }

// continues reports that a row is the n-th of a run that began with o.
func (r *eventRow) continues(o *eventRow, n int) bool {
	return r.session == o.session && r.number == o.number+int64(n) && r.sourceNumber == o.sourceNumber+int64(n) && r.alike(o) &&
		r.signals == "" && r.outcome == "" && r.attributes == ""
}

// newLogs and newSources write n that were not there; moveLogs and moveSources move n from where they were. Fewer rows are changed
// than n when somebody else wrote them.
func (d dialect) newLogs(n int) string {
	return "INSERT INTO logs (shard, session, org, number) " + d.values(n, number, text, text, number) + " ON CONFLICT DO NOTHING"
}

func (d dialect) newSources(n int) string {
	return "INSERT INTO positions (shard, session, source, number) " + d.values(n, number, text, text, number) + " ON CONFLICT DO NOTHING"
}

func (d dialect) moveLogs(n int) string {
	return "UPDATE logs SET number = v.column4 FROM (" + d.values(n, number, text, number, number) +
		") v WHERE logs.shard = v.column1 AND logs.session = v.column2 AND logs.number = v.column3"
}

func (d dialect) moveSources(n int) string {
	return "UPDATE positions SET number = v.column5 FROM (" + d.values(n, number, text, text, number, number) +
		") v WHERE positions.shard = v.column1 AND positions.session = v.column2 AND positions.source = v.column3 AND positions.number = v.column4"
}
