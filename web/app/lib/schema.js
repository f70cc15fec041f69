// The description of a setting, found in the OpenAPI document by its JSON pointer.
import { spec } from './api.js';

/**
 * A JSON schema, as far as forms read it.
 * @typedef {{
 *   $ref?: string, type?: string | string[], enum?: string[], description?: string,
 *   minimum?: number, maximum?: number, exclusiveMinimum?: number, exclusiveMaximum?: number,
 *   examples?: any[], properties?: Record<string, any>, allOf?: any[], oneOf?: any[], anyOf?: any[],
 * }} Schema
 */

/**
 * @param {Schema | undefined} schema
 * @returns {Schema}
 */
function resolve(schema) {
  if (!schema?.$ref) return schema ?? {};
  const { $ref, ...own } = schema;
  const target =
    $ref
      .split('/')
      .slice(1)
      .reduce((at, key) => at?.[key], /** @type {any} */ (spec.value)) ?? {};
  return { ...resolve(target), ...own };
}

/**
 * Properties of a schema with its `allOf` parts; of `oneOf` the variant whose `type` fits the value.
 * @param {Schema} schema
 * @param {any} value
 * @returns {Record<string, Schema>}
 */
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

/**
 * What is known of `/method/beta` in a `JobSpec` (or another schema) with these values.
 * @param {string} pointer
 * @param {object} values
 * @param {string} [name]
 * @returns {Schema}
 */
export function about(pointer, values, name = 'JobSpec') {
  /** @type {Schema} */
  let schema = { $ref: `#/components/schemas/${name}` };
  /** @type {any} */
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

/**
 * The variants of a tagged schema, and what one begins with.
 * @param {string} name
 * @returns {{ type: string, description: string, example: any }[]}
 */
export function variants(name) {
  const schema = spec.value?.components?.schemas?.[name];
  return (schema?.oneOf || []).flatMap((variant) => {
    const types = properties(variant, {}).type?.enum || [];
    return types.map((type) => ({
      type,
      description: resolve(variant).description || '',
      example: variant.examples?.[0] ?? { type },
    }));
  });
}

/**
 * What a number may be, in words; empty where the document does not say.
 * @param {Schema} schema
 */
export function range({ minimum, maximum, exclusiveMinimum, exclusiveMaximum }) {
  const parts = [
    exclusiveMinimum === undefined ? '' : `above ${exclusiveMinimum}`,
    minimum === undefined ? '' : `from ${minimum}`,
    exclusiveMaximum === undefined ? '' : `below ${exclusiveMaximum}`,
    // A type's own end says nothing about the setting.
    maximum === undefined || maximum > Number.MAX_SAFE_INTEGER ? '' : `up to ${maximum}`,
  ];
  return parts.filter(Boolean).join(', ');
}
