package ziti

import (
	"encoding/json"
	"testing"

	sdk "github.com/openziti/sdk-golang/ziti"
)

// FuzzIdentity: the file of an overlay identity is refused, or has a controller, a key with its certificate, a name and an
// authority to trust; an error never repeats the key.
func FuzzIdentity(f *testing.F) {
	key, err := NewKey()
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{"", "null", "{}", `{"ztAPI":"https://c"}`, `{"ztAPI":"https://c","id":{"cert":"file:/etc/passwd","key":"pem:x","ca":"pem:y"}}`, `{"ztAPIs":["https://c"],"id":{"cert":"pem:","key":"pem:","ca":"pem:"}}`, "\xff"} {
		f.Add([]byte(s))
	}
	var withKey sdk.Config
	withKey.ZtAPI, withKey.ID.Cert, withKey.ID.Key, withKey.ID.CA = "https://c", "pem:x", "pem:"+string(key), "pem:y"
	b, err := json.Marshal(withKey)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		n := &Node{cfg: NodeConfig{Identity: b}}
		zc, err := n.config()
		if err != nil {
			return
		}
		p, err := parseIdentity(zc)
		if err != nil {
			if key := zc.ID.Key; len(key) > 40 && len(err.Error()) > 500 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
			return
		}
		if p.name == "" || p.pool == nil || len(p.cert.Certificate) == 0 || zc.ZtAPI == "" && len(zc.ZtAPIs) == 0 {
			t.Errorf("taken: %+v", p)
		}
	})
}
