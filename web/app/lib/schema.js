// The description of a setting, found in the OpenAPI document by its JSON pointer.
import { spec } from './api.js';

function resolve(schema) {
  if (!schema?.$ref) return schema ?? {};
  const { $ref, ...own } = schema;
  const target =
    $ref
      .split('/')
      .slice(1)
      .reduce((at, key) => at?.[key], spec.value) ?? {};
  return { ...resolve(target), ...own };
}

/** Properties of a schema with its `allOf` parts; of `oneOf` the variant whose `type` fits the value. */
function properties(schema, value) {
  const one = resolve(schema);
  const own = { ...one.properties };
  for (const part of one.allOf || []) Object.assign(own, properties(part, value));
  const variants = one.oneOf || one.anyOf;
  if (variants) {
    const fits = variants.find((variant) => {
      const known = properties(variant, value);
      return known.type ? known.type.enum?.includes(value?.type) : Object.keys(known).length > 0;
    });
    if (fits) Object.assign(own, properties(fits, value));
  }
  return own;
}

/** What is known of `/method/beta` in a `JobSpec` with these values. */
export function about(pointer, values) {
  let schema = { $ref: '#/components/schemas/JobSpec' };
  let value = values;
  for (const key of pointer.split('/').slice(1)) {
    const found = properties(schema, value)[key];
    if (!found) return {};
    schema = found;
    value = value?.[key];
  }
  const { description = '', ...rest } = resolve(schema);
  const inner = (rest.oneOf || rest.anyOf || []).map(resolve).filter((one) => one.type !== 'null');
  return {
    ...rest,
    ...(inner.length === 1 ? inner[0] : {}),
    description: description || inner[0]?.description || '',
  };
}

/** Names of the variants of a tagged schema: [[type, description]]. */
export function variants(name) {
  const schema = spec.value?.components?.schemas?.[name];
  return (schema?.oneOf || []).flatMap((variant) => {
    const types = properties(variant, {}).type?.enum || [];
    return types.map((type) => [type, resolve(variant).description || '']);
  });
}
