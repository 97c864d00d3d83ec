package telemetry

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/resource"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
)

// newResource describes the process, without its command line, which may hold secrets. The
// environment's attributes win.
func newResource(ctx context.Context, s *Settings) (*resource.Resource, error) {
	attributes := serviceAttributes(s)
	for k, v := range s.Resource {
		attributes = append(attributes, attribute.String(k, v))
	}
	r, err := resource.New(ctx,
		resource.WithTelemetrySDK(),
		resource.WithHost(),
		resource.WithOSType(),
		resource.WithContainer(),
		resource.WithProcessPID(),
		resource.WithProcessExecutableName(),
		resource.WithProcessRuntimeName(),
		resource.WithProcessRuntimeVersion(),
		resource.WithSchemaURL(schemaURL),
		resource.WithAttributes(attributes...),
		resource.WithFromEnv())
	if errors.Is(err, resource.ErrPartialResource) || errors.Is(err, resource.ErrSchemaURLConflict) {
		err = nil // a host that can't be asked for its name is no reason not to start
	}
	if err != nil {
		return nil, fmt.Errorf("describe the process: %w", err)
	}
	return r, nil
}

func serviceAttributes(s *Settings) []attribute.KeyValue {
	list := []attribute.KeyValue{semconv.ServiceName(s.ServiceName), semconv.ServiceInstanceID(instanceID())}
	if s.Version != "" {
		list = append(list, semconv.ServiceVersion(s.Version))
	}
	return list
}

// instanceID is a random UUID (RFC 9562, version 4), as the semantic conventions recommend.
func instanceID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
