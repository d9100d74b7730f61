package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/nave-dev/nave/api"
)

func TestEveryCodeComesBack(t *testing.T) {
	seen := map[codes.Code]api.Code{}
	for _, code := range api.Codes() {
		c, ok := statusCodes[code]
		if !ok || seen[c] != "" || c == codes.OK {
			t.Errorf("%s has status %v, which is %q's", code, c, seen[c])
		}
		seen[c] = code
		for _, err := range []error{api.Errorf(code, "why"), fmt.Errorf("around: %w", &api.Error{Code: code, Op: "op", Field: "field", Err: errors.New("why")})} {
			got := fromStatus(toStatus(err))
			if api.CodeOf(got) != code || !strings.Contains(got.Error(), "why") {
				t.Errorf("%v comes back as %v (%s)", err, got, api.CodeOf(got))
			}
		}
	}
	if len(seen) != len(statusCodes) {
		t.Errorf("the table has %d rows for %d codes", len(statusCodes), len(seen))
	}
}

func TestEndsThatAreNoErrors(t *testing.T) {
	for _, err := range []error{nil, io.EOF, context.Canceled, fmt.Errorf("receive: %w", io.EOF)} {
		if got := toStatus(err); got != nil {
			t.Errorf("%v becomes %v", err, got)
		}
	}
	for _, c := range []codes.Code{codes.Canceled, codes.DeadlineExceeded, codes.Unknown, codes.DataLoss} {
		if got := fromStatus(status.Error(c, "why")); api.CodeOf(got) != api.CodeUnavailable {
			t.Errorf("%v becomes %v", c, got)
		}
	}
	if got := fromStatus(toStatus(errors.New("of a library"))); api.CodeOf(got) != api.CodeInternal {
		t.Errorf("an error without a code becomes %v", got)
	}
}
