package kube

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/nave-dev/nave/api"
)

func TestErrorsOfTheAPIServerSayWhatToDo(t *testing.T) {
	pods := corev1.Resource("pods")
	forbidden := func(text string) error { return apierrors.NewForbidden(pods, "", errors.New(text)) }
	for _, tt := range []struct {
		name string
		call call
		err  error
		code api.Code
		says []string
	}{
		{"no right", call{"watch", "pods", "acme"}, forbidden(`User "s" cannot watch resource "pods" in API group "" in the namespace "acme"`), api.CodeDenied,
			[]string{"watch pods in namespace acme", `the right "watch" on "pods"`, "give it a role"}},
		{"a quota", call{"create", "pods", "acme"}, forbidden("exceeded quota"), api.CodeFailed, []string{"create pods in namespace acme", "exceeded quota"}},
		{"nobody", call{"list", "pods", "acme"}, apierrors.NewUnauthorized("Unauthorized"), api.CodeDenied, []string{"list pods in namespace acme", "is its token or certificate"}},
		{"no namespace", call{"create", "pods", "acme"}, apierrors.NewNotFound(corev1.Resource("namespaces"), "acme"), api.CodeFailed, []string{"is the namespace missing?"}},
		{"refused", call{"list", "namespaces", ""}, syscall.ECONNREFUSED, api.CodeUnavailable, []string{"list namespaces: ", "connection refused"}},
		{"late", call{"watch", "pods", "acme"}, errLate, api.CodeUnavailable, []string{"watch pods in namespace acme: no answer within 10s"}},
		{"patience", call{"list", "pods", "acme"}, apierrors.NewTooManyRequests("later", 1), api.CodeUnavailable, []string{"later"}},
		{"its own fault", call{"list", "pods", "acme"}, apierrors.NewInternalError(errors.New("oh")), api.CodeUnavailable, []string{"oh"}},
	} {
		err := tt.call.fail(tt.err)
		if api.CodeOf(err) != tt.code {
			t.Errorf("%s: code %s, want %s: %v", tt.name, api.CodeOf(err), tt.code, err)
		}
		for _, text := range tt.says {
			if !strings.Contains(err.Error(), text) {
				t.Errorf("%s: %v does not say %q", tt.name, err, text)
			}
		}
		if !errors.Is(err, tt.err) {
			t.Errorf("%s: %v hides what happened", tt.name, err)
		}
	}
	if err := (call{"list", "pods", "acme"}).fail(context.Canceled); !errors.Is(err, context.Canceled) || api.CodeOf(err) == api.CodeUnavailable {
		t.Errorf("who went away: %v", err)
	}
	if err := (call{}).fail(nil); err != nil {
		t.Error(err)
	}
}
