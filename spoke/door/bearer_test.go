package door

import (
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

// FuzzBearer: headers of a call give one token and one workload, which they hold as they are, or are refused without being
// repeated.
func FuzzBearer(f *testing.F) {
	id := workload(1).String()
	for _, s := range [][2]string{{"Bearer abc.def-_~+/=", id}, {"bearer a", id}, {"Bearer  a", id}, {"Bearer a b", id}, {"Bearer ", id}, {"Basic a", id}, {"", ""},
		{"Bearer a", strings.ToUpper(id)}, {"Bearer a\x00", id}, {"Bearer " + strings.Repeat("a", maxToken+1), id}} {
		f.Add(s[0], s[1], false)
		f.Add(s[0], s[1], true)
	}
	f.Fuzz(func(t *testing.T, token, workload string, twice bool) {
		md := metadata.Pairs(harnessv1.HeaderToken, token, harnessv1.HeaderWorkload, workload)
		if twice {
			md.Append(harnessv1.HeaderToken, token)
		}
		b, err := bearerOf(md)
		if err != nil {
			if status.Code(err) != codes.Unauthenticated || len(err.Error()) > 200 || len(token) > 20 && strings.Contains(err.Error(), token) {
				t.Errorf("refused as %v", err)
			}
			return
		}
		if twice || b.id.String() != workload || !strings.HasSuffix(token, " "+b.token) || len(b.token) > maxToken || strings.ContainsAny(b.token, " \t\r\n\x00") {
			t.Errorf("%q and %q became %+v", token, workload, b)
		}
	})
}
