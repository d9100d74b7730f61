package client

import (
	"context"

	"github.com/nave-dev/nave/api"
)

// maxPages bounds one list: a million items in pages of a thousand.
const maxPages = 1000

// Collect reads a list to its end. page fetches the page that a token names and returns its items and the next token;
// both tokens are empty at the ends.
func Collect[T any](ctx context.Context, page func(ctx context.Context, token string) ([]T, string, error)) ([]T, error) {
	var all []T
	token := ""
	for range maxPages {
		items, next, err := page(ctx, token)
		if err != nil {
			return nil, err
		}
		all = append(all, items...)
		if next == "" {
			return all, nil
		}
		if next == token {
			return nil, api.Errorf(api.CodeInternal, "the hub answered a page with the same page again")
		}
		token = next
	}
	return nil, api.Errorf(api.CodeLimit, "more than %d pages: narrow the list with a selector", maxPages)
}
