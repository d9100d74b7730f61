package hub

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"github.com/nave-dev/nave/api"
)

// Pager is one page of a list: how many items, and after which one it begins.
type Pager struct {
	Size  int
	After string // empty: from the beginning

	query string
}

// NewPager reads page size and token of a request. A size of 0 means [DefaultPageSize]. The query is everything that
// determines the list: a token of another list is CodeInvalid for the field "page_token".
func NewPager(size int, token string, query ...string) (Pager, error) {
	h := sha256.New()
	for _, q := range query {
		fmt.Fprintf(h, "%d:%s", len(q), q)
	}
	p := Pager{Size: size, query: string(h.Sum(nil)[:8])}
	if size == 0 {
		p.Size = DefaultPageSize
	}
	if size < 0 || size > MaxPageSize {
		return p, api.Invalid("page_size", "%d: want 1 to %d, or leave it out for %d", size, MaxPageSize, DefaultPageSize)
	}
	if token == "" {
		return p, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(token)
	after, ok := strings.CutPrefix(string(b), p.query)
	if err != nil || !ok || after == "" {
		return p, api.Invalid("page_token", "%.40q is not a token of this list: use next_page_token of the previous answer with the same request, or leave it out to begin anew", token)
	}
	p.After = after
	return p, nil
}

// Token is the token of the page after the named item.
func (p Pager) Token(last string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(p.query + last))
}

// number is After as a number, for lists that are ordered by one.
func (p Pager) number() (uint64, error) {
	if p.After == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(p.After, 10, 64)
	if err != nil || n == 0 {
		return 0, api.Invalid("page_token", "is not a token of this list: leave it out to begin anew")
	}
	return n, nil
}
