/** The one door to the `ini` package: sections and keys of host-wide settings. A conf of a subhost is no ini file. */
import { parse } from 'ini';

/** What ini makes of a value: `true`, `false` and `null` are no text to it, `key[]` is a list, `[a.b]` a section in a. */
export type IniValue = string | boolean | null | readonly IniValue[] | { readonly [key: string]: IniValue };

/** Sections by title; what stands before the first one is among them, as a value. */
export type IniFile = Readonly<Record<string, IniValue>>;

/** Reads ini text. Never fails; what makes no sense shows as an unknown key. */
export const parseIni = (text: string): IniFile => parse(text);
