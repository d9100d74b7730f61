package kube

import (
	"encoding/json"
	"fmt"
	"strings"
)

// pinned is an image by its digest, as a node says what it runs; empty when that is not a reference that can be pulled: images
// that were loaded onto a node have none.
func pinned(image, id string) string {
	_, after, ok := strings.Cut(id, "@sha256:")
	if !ok || len(after) != 64 || strings.Trim(after, "0123456789abcdef") != "" {
		return ""
	}
	if strings.Contains(image, "@") {
		return image
	}
	name := image
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		name = name[:i]
	}
	return name + "@sha256:" + after
}

// hasImageVolumes reads what the API server says of its version: from 1.36 on no cluster is without them.
func hasImageVolumes(version []byte) bool {
	var v struct {
		Major string `json:"major"`
		Minor string `json:"minor"` // some add a +
	}
	var major, minor int
	if err := json.Unmarshal(version, &v); err != nil {
		return false
	}
	if _, err := fmt.Sscan(v.Major+" "+strings.TrimRight(v.Minor, "+"), &major, &minor); err != nil {
		return false
	}
	return major > 1 || major == 1 && minor >= 36
}
