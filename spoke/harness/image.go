package harness

import "strings"

// defaultPath is the PATH of an image that names none.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// ofImage are the variables of an image among those of a container: without Nave's own, and without what the platform adds for
// every container (its name, and where services are).
func ofImage(environ []string) []string {
	services := make(map[string]bool) // by the prefix of their variables
	for _, kv := range environ {
		name, _, _ := strings.Cut(kv, "=")
		if s, ok := strings.CutSuffix(name, "_SERVICE_HOST"); ok && s != "" {
			services[s] = true
		}
	}
	var out []string
	path := false
	for _, kv := range environ {
		name, _, ok := strings.Cut(kv, "=")
		if !ok || name == "" || name == "HOSTNAME" || strings.HasPrefix(name, "NAVE_") || strings.HasPrefix(name, "KUBERNETES_") || ofService(name, services) {
			continue
		}
		path = path || name == "PATH"
		out = append(out, kv)
	}
	if !path {
		out = append(out, "PATH="+defaultPath)
	}
	return out
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
