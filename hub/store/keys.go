package store

import (
	"encoding/hex"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/nave-dev/nave/api"
)

// keys makes the keys of the table in doc.go.
type keys struct{ prefix string }

func (k keys) format() string      { return k.prefix + "format" }
func (k keys) incarnation() string { return k.prefix + "incarnation" }

func (k keys) path(parts ...string) string {
	var b strings.Builder
	b.WriteString(k.prefix)
	for i, p := range parts {
		if i > 0 {
			b.WriteByte('/')
		}
		b.WriteString(url.PathEscape(p))
	}
	return b.String()
}

func (k keys) definitions(org api.OrgID, kind api.Kind) string {
	return k.path("defs", string(org), string(kind), "")
}

func (k keys) definition(org api.OrgID, kind api.Kind, name string) string {
	return k.path("defs", string(org), string(kind), name)
}

func (k keys) revisions(org api.OrgID, kind api.Kind, id api.ObjectID) string {
	return k.path("revs", string(org), string(kind), string(id), "")
}

func (k keys) revision(org api.OrgID, kind api.Kind, id api.ObjectID, revision uint64) string {
	return k.revisions(org, kind, id) + number(revision)
}

func (k keys) users(org api.OrgID, kind api.Kind, name string) string {
	return k.path("uses", string(org), string(kind), name, "")
}

func (k keys) use(org api.OrgID, of api.Ref, userKind api.Kind, user string) string {
	return k.path("uses", string(org), string(of.Kind), of.Name, string(userKind), user)
}

func (k keys) definitionsVersion(org api.OrgID) string { return k.path("defsversion", string(org)) }

func (k keys) clusters() string                { return k.path("clusters", "") }
func (k keys) cluster(id api.ClusterID) string { return k.path("clusters", string(id)) }
func (k keys) clusterName(org api.OrgID, name string) string {
	return k.path("clusternames", string(org), name)
}
func (k keys) joinToken(hash []byte) string        { return k.path("jointokens", hex.EncodeToString(hash)) }
func (k keys) lives() string                       { return k.path("alive", "") }
func (k keys) alive(id api.ClusterID) string       { return k.path("alive", string(id)) }
func (k keys) placed(id api.ClusterID) string      { return k.path("placed", string(id)) }
func (k keys) fingerprint(id api.ClusterID) string { return k.path("fingerprints", string(id)) }
func (k keys) credential(hash [32]byte) string {
	return k.path("credentials", hex.EncodeToString(hash[:]))
}

func (k keys) shard(s api.Shard) string { return k.prefix + "shards/" + padded(uint64(s), 3) + "/" }
func (k keys) head(s api.Shard) string  { return k.shard(s) + "head" }

func (k keys) session(s api.Shard, org api.OrgID, id api.SessionID) string {
	return k.shard(s) + "s/" + url.PathEscape(string(org)) + "/" + url.PathEscape(string(id))
}

func (k keys) signal(s api.Shard, org api.OrgID, id api.SessionID, sequence uint64) string {
	return k.shard(s) + "q/" + url.PathEscape(string(org)) + "/" + url.PathEscape(string(id)) + "/" + number(sequence)
}

func (k keys) outbox(s api.Shard, org api.OrgID, id api.SessionID, n uint64) string {
	return k.shard(s) + "o/" + url.PathEscape(string(org)) + "/" + url.PathEscape(string(id)) + "/" + number(n)
}

func (k keys) approval(s api.Shard, org api.OrgID, id api.ApprovalID) string {
	return k.shard(s) + "a/" + url.PathEscape(string(org)) + "/" + url.PathEscape(string(id))
}

// number pads to the width of the largest number, so that keys sort as numbers do.
func number(n uint64) string { return padded(n, 20) }

// padded is a number with zeros before it.
func padded(n uint64, width int) string {
	digits := strconv.FormatUint(n, 10)
	return "00000000000000000000"[:max(0, width-len(digits))] + digits
}

// last returns the last n parts of a key, unescaped.
func last(key string, n int) ([]string, error) {
	parts := strings.Split(key, "/")
	if len(parts) < n {
		return nil, &recordError{key, fmt.Errorf("has fewer than %d parts", n)}
	}
	parts = parts[len(parts)-n:]
	for i, p := range parts {
		u, err := url.PathUnescape(p)
		if err != nil {
			return nil, &recordError{key, err}
		}
		parts[i] = u
	}
	return parts, nil
}
