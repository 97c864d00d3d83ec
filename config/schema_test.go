package config

import (
	"encoding/json"
	"reflect"
	"strconv"
	"testing"
)

// TestSchemaIsCurrent holds the JSON schema, which editors use to complete and check the file, to the code.
func TestSchemaIsCurrent(t *testing.T) {
	comments := fieldComments(t)
	schema := schemaOfBlock(reflect.TypeFor[Config](), comments)
	schema["$schema"] = "http://json-schema.org/draft-07/schema#"
	schema["title"] = "wsproxy.yaml"
	text, err := json.MarshalIndent(schema, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "../docs/wsproxy.schema.json", string(text)+"\n")
}

func schemaOfBlock(t reflect.Type, comments map[string]string) map[string]any {
	properties, required := map[string]any{}, []string{}
	for _, f := range fieldsOf(t) {
		sf := t.Field(f.index)
		s := schemaOf(sf.Type, f, comments)
		s["description"] = comments[t.Name()+"."+sf.Name]
		if f.hasPreset {
			s["default"] = presetValue(sf.Type, f.preset)
		}
		properties[f.name] = s
		if f.required && !f.hasPreset {
			required = append(required, f.name)
		}
	}
	schema := map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		schema["required"] = required
	}
	if _, ok := reflect.New(t).Interface().(switchable); ok {
		return map[string]any{"anyOf": []any{schema, map[string]any{"const": "off"}}}
	}
	return schema
}

// presetValue is a default with the type that it has in JSON.
func presetValue(t reflect.Type, preset string) any {
	switch t.Kind() {
	case reflect.Bool, reflect.Int, reflect.Float64:
		if json.Valid([]byte(preset)) {
			return json.RawMessage(preset)
		}
	case reflect.Slice:
		return []string{preset}
	}
	return preset
}

func schemaOf(t reflect.Type, f field, comments map[string]string) map[string]any {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if now, _ := choicesOf(t); now != nil {
		return orVariable(map[string]any{"enum": literals(now)})
	}
	switch block, below := blockOf(t); {
	case block != nil && below == "":
		return schemaOfBlock(block, comments)
	case t.Kind() == reflect.Slice:
		list := map[string]any{"type": "array", "items": schemaOf(t.Elem(), field{}, comments)}
		if f.required || f.hasPreset {
			list["minItems"] = 1
		}
		return list
	case t.Kind() == reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": schemaOf(t.Elem(), field{}, comments)}
	case t.Kind() == reflect.Bool:
		return orVariable(map[string]any{"type": "boolean"})
	case t.Kind() == reflect.Int || t.Kind() == reflect.Float64:
		kind := map[reflect.Kind]string{reflect.Int: "integer", reflect.Float64: "number"}[t.Kind()]
		number := map[string]any{"type": kind, "minimum": json.Number(f.least), "maximum": json.Number(f.most)}
		if word := f.word(); word != "" {
			return map[string]any{"anyOf": append(orVariable(number)["anyOf"].([]any), map[string]any{"const": word})}
		}
		return orVariable(number)
	}
	return map[string]any{"type": []string{"string", "number"}}
}

// literals has 1012 beside "1012": in YAML either stands for the text.
func literals(texts []string) []any {
	var list []any
	for _, text := range texts {
		list = append(list, text)
		if _, err := strconv.ParseFloat(text, 64); err == nil {
			list = append(list, json.Number(text))
		}
	}
	return list
}

func orVariable(schema map[string]any) map[string]any {
	return map[string]any{"anyOf": []any{schema, map[string]any{"type": "string", "pattern": `\$\{`}}}
}
