package archive

import (
	"testing"

	"github.com/nave-dev/nave/api"
)

func TestWhichServersSuit(t *testing.T) {
	for _, tt := range []struct {
		version, encoding, readOnly string
		want                        api.Code
	}{
		{"150008", "UTF8", "off", ""},
		{"130000", "UTF8", "off", ""},
		{"120022", "UTF8", "off", api.CodeUnsupported},
		{"90624", "UTF8", "off", api.CodeUnsupported},
		{"x", "UTF8", "off", api.CodeUnsupported},
		{"150008", "SQL_ASCII", "off", api.CodeInvalid},
		{"150008", "UTF8", "on", api.CodeFailed},
	} {
		if err := suits(tt.version, tt.encoding, tt.readOnly); api.CodeOf(err) != tt.want || tt.want != "" && api.FieldOf(err) != "postgresql" {
			t.Errorf("%+v = %v, want code %q", tt, err, tt.want)
		}
	}
}
