package ziti

import (
	"errors"
	"testing"
)

// The wordings were seen from a controller.
func TestRefusalsAreToldFromOutages(t *testing.T) {
	for text, want := range map[string]bool{
		"authenticate: credential submission failed with status 401":                                                       true,
		"unable to dial service 'nave-hub' (credential submission failed with status 401)":                                 true,
		"failed to dial: no apiSession, authentication attempt failed: credential submission failed with status 401":       true,
		"no apiSession, authentication attempt failed: [POST /authenticate][401] authenticateUnauthorized":                 true,
		"unable to dial service 'nave-hub' (Post \"https://127.0.0.1:1/edge/client/v1/sessions\": connection refused)":     false,
		"authenticate: Get \"https://127.0.0.1:1/version\": dial tcp 127.0.0.1:1: connect: connection refused":             false,
		"error for request x: UNAUTHORIZED: The request could not be completed. The session is not authorized":             false,
		"dial overlay service nave-hub: no answer from the overlay yet":                                                    false,
		"failed to dial: no apiSession, authentication attempt failed: Post \"https://127.0.0.1:401/oidc/x\": i/o timeout": false,
	} {
		if got := refused(errors.New(text)); got != want {
			t.Errorf("%s: refused %t", text, got)
		}
	}
}
