package harness

import (
	"cmp"
	"path/filepath"
	"slices"
	"strings"
)

// defaultPath is the PATH of an image that names none.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// ofImage are the variables of an image among those of a container: without Nave's own, and without what the platform adds for
// every container (its name, and where services are). The last folder of the path is that of the harness's program, so that the
// agent's programs find it.
func ofImage(environ []string, program string) []string {
	services := make(map[string]bool) // by the prefix of their variables
	for _, kv := range environ {
		name, _, _ := strings.Cut(kv, "=")
		if s, ok := strings.CutSuffix(name, "_SERVICE_HOST"); ok && s != "" {
			services[s] = true
		}
	}
	var out []string
	path := defaultPath
	for _, kv := range environ {
		name, value, ok := strings.Cut(kv, "=")
		if !ok || name == "" || name == "HOSTNAME" || strings.HasPrefix(name, "NAVE_") || strings.HasPrefix(name, "KUBERNETES_") || ofService(name, services) {
			continue
		}
		if name == "PATH" {
			path = cmp.Or(value, defaultPath)
			continue
		}
		out = append(out, kv)
	}
	if dir := filepath.Dir(program); filepath.IsAbs(program) && !slices.Contains(filepath.SplitList(path), dir) {
		path += string(filepath.ListSeparator) + dir
	}
	return append(out, "PATH="+path)
}

// ofService tells whether a variable says where a service is: X_SERVICE_HOST, X_SERVICE_PORT, X_SERVICE_PORT_NAME, X_PORT,
// X_PORT_443_TCP and what follows it.
func ofService(name string, services map[string]bool) bool {
	for _, mark := range []string{"_SERVICE_HOST", "_SERVICE_PORT", "_PORT"} {
		for i := 0; ; {
			j := strings.Index(name[i:], mark)
			if j < 0 {
				break
			}
			i += j
			rest := name[i+len(mark):]
			if services[name[:i]] && (rest == "" || rest[0] == '_' && mark != "_SERVICE_HOST") {
				return true
			}
			i++
		}
	}
	return false
}
