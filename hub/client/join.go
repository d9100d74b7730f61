package client

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"strings"

	"github.com/nave-dev/nave/api"
)

// joinPrefix begins every join token. A token is joinPrefix, the body (JSON in base64url without padding), a dot and the
// first eight bytes of SHA-256 over all before the dot, as hex.
const (
	joinPrefix   = "nave-join-v1."
	joinFamily   = "nave-join-v"
	joinChecksum = 16   // characters
	maxJoinToken = 4096 // characters
)

// JoinToken is what an administrator hands to a new spoke. It is a secret until it was used.
type JoinToken struct {
	Address       string        // of the hub, "https://host:port"
	AuthorityHash [32]byte      // SHA-256 of the DER of the authority that the hub's certificate leads to
	ClusterID     api.ClusterID // of the registered cluster
	Secret        string        // single use
}

type joinBody struct {
	Address   string `json:"address"`
	Authority string `json:"authority"` // hex
	Cluster   string `json:"cluster"`
	Secret    string `json:"secret"`
}

// NewJoinToken makes the token for a registered cluster. authority is what [Client.Authority] returned.
func NewJoinToken(address string, authority *x509.Certificate, cluster api.ClusterID, secret string) JoinToken {
	return JoinToken{Address: address, AuthorityHash: sha256.Sum256(authority.Raw), ClusterID: cluster, Secret: secret}
}

// Validate checks the token's parts.
func (t JoinToken) Validate() error {
	if _, err := parseAddress(t.Address); err != nil {
		return err
	}
	if t.AuthorityHash == ([32]byte{}) {
		return api.Invalid("join_token", "names no authority: make a new token")
	}
	if t.ClusterID == "" || t.Secret == "" {
		return api.Invalid("join_token", "holds no cluster or no secret: make a new token")
	}
	return nil
}

// String renders the token as it is handed over, secret included.
func (t JoinToken) String() string {
	// Encoding strings cannot fail.
	body, _ := json.Marshal(joinBody{t.Address, hex.EncodeToString(t.AuthorityHash[:]), string(t.ClusterID), t.Secret})
	s := joinPrefix + base64.RawURLEncoding.EncodeToString(body)
	return s + "." + checksum(s)
}

// LogValue implements slog.LogValuer: the secret stays out of logs.
func (t JoinToken) LogValue() slog.Value {
	return slog.GroupValue(slog.String("address", t.Address), slog.String("cluster", string(t.ClusterID)))
}

func checksum(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:joinChecksum/2])
}

// ParseJoinToken is the inverse of [JoinToken.String]. Its errors say whether the text is something else, was cut off, or
// was mistyped, and never repeat it.
func ParseJoinToken(s string) (JoinToken, error) {
	bad := func(why string) (JoinToken, error) { return JoinToken{}, api.Invalid("join_token", "%s", why) }
	s = strings.TrimSpace(s)
	switch {
	case s == "":
		return bad("is empty: give the text that registering the cluster printed")
	case strings.ContainsAny(s, " \t\r\n"):
		return bad("holds a space or a line break: copy it as one line")
	case len(s) > maxJoinToken:
		return bad("is too long for a join token: copy it alone")
	case !strings.HasPrefix(s, joinPrefix):
		switch {
		case strings.HasPrefix(joinPrefix, s):
			return bad("was cut off: copy it to its end")
		case strings.HasPrefix(s, joinFamily):
			return bad("is of a version that this program does not know: use the spoke's version that fits the hub")
		}
		return bad("is not a join token: it begins with " + joinPrefix)
	}
	body, sum, found := strings.Cut(s[len(joinPrefix):], ".")
	if !found || len(sum) < joinChecksum {
		return bad("was cut off: copy it to its end")
	}
	if len(sum) > joinChecksum {
		return bad("has something behind its end: copy it alone")
	}
	if checksum(joinPrefix+body) != sum {
		return bad("was mistyped, or something in its middle is missing: copy it again")
	}
	// From here on a fault is the maker's, since the checksum fits.
	raw, err := base64.RawURLEncoding.Strict().DecodeString(body)
	if err != nil {
		return bad("is damaged: make a new token")
	}
	var b joinBody
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&b); err != nil {
		return bad("is damaged: make a new token")
	}
	t := JoinToken{Address: b.Address, ClusterID: api.ClusterID(b.Cluster), Secret: b.Secret}
	if h, err := hex.DecodeString(b.Authority); err != nil || copy(t.AuthorityHash[:], h) != len(h) || len(h) != len(t.AuthorityHash) {
		return bad("is damaged: make a new token")
	}
	return t, t.Validate()
}
