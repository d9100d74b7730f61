package archive

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestWideStatementsUseTheirKeys asks SQLite for its plans: one probe of a key for each row of arguments, however many there are.
func TestWideStatementsUseTheirKeys(t *testing.T) {
	a, err := Open(t.Context(), Config{File: filepath.Join(t.TempDir(), "a.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = a.Close() }()
	for _, n := range widths {
		for query, want := range map[string]string{
			a.d.owners(n):      "SEARCH shard_owner USING INTEGER PRIMARY KEY (rowid=?)",
			a.d.moveLogs(n):    "SEARCH logs USING PRIMARY KEY (shard=? AND session=?)",
			a.d.moveSources(n): "SEARCH positions USING PRIMARY KEY (shard=? AND session=? AND source=?)",
		} {
			args := make([]any, strings.Count(query, "?"))
			rows, err := a.read.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+query, args...)
			if err != nil {
				t.Fatal(err)
			}
			plan := ""
			for rows.Next() {
				var id, parent, unused int
				var detail string
				if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
					t.Fatal(err)
				}
				plan += detail + "\n"
			}
			_ = rows.Close()
			if !strings.Contains(plan, want) {
				t.Errorf("plan of %s:\n%swant %s", query, plan, want)
			}
		}
	}
}

// TestWidths: rows go into the widest statements that they fill, and shards into the narrowest that has place for them.
func TestWidths(t *testing.T) {
	for _, tt := range []struct{ rows, narrower, wider int }{{1, 1, 1}, {2, 1, 4}, {4, 4, 4}, {5, 4, 16}, {16, 16, 16}, {63, 16, 64}, {64, 64, 64}, {1000, 64, 64}} {
		if n, w := widths[narrower(tt.rows)], widths[wider(tt.rows)]; n != tt.narrower || w != tt.wider {
			t.Errorf("%d rows: %d and %d, want %d and %d", tt.rows, n, w, tt.narrower, tt.wider)
		}
	}
}
